package routes // want package:"functions"

import (
	"time"

	"tafe/app"
)

func register(a *app.App) {
	a.Get("/report", report, app.Blocking())
	a.Get("/literal", func(c *app.Context) error { time.Sleep(1); return nil }, app.Blocking())
	named := func(c *app.Context) error { time.Sleep(1); return nil }
	a.Get("/named", named, app.Blocking())
	a.Get("/quick", quick)
}

// report starts beside the loop.
func report(c *app.Context) error {
	time.Sleep(time.Second)
	return nil
}

func quick(c *app.Context) error {
	time.Sleep(time.Second) // want `routes.quick -> time.Sleep`
	return nil
}
