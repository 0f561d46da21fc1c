package handlers

import (
	"time"

	"tafe/app"
)

func slowForTests(c *app.Context) error {
	time.Sleep(1)
	return nil
}
