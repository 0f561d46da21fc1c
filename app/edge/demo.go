// The demo of a binary: what serve runs without a configuration file.

package edge

import (
	"flag"
	"log/slog"

	"tafe/app"
	"tafe/loop/reactor"
)

// Demo is what serve runs without a configuration file. Its methods are called in the order in which they are listed here, by one goroutine.
type Demo interface {
	// Flags adds flags to those of serve. They cannot be used with a configuration file.
	Flags(fs *flag.FlagSet)
	// Check returns the error of the flags, made by Usagef, or nil.
	Check() error
	// Start starts what the App needs. Close is called even if it fails.
	Start(loops int, log *slog.Logger) error
	// App returns the App. The admin listener is at adminAddr.
	App(options app.Options, adminAddr string) *app.App
	// Bind is called once the server listens.
	Bind(engine *reactor.Engine)
	// Close ends what Start has started.
	Close() error
}

// WithDemo returns the Part of a Demo.
func WithDemo(d Demo) Part { return demoPart{d} }

type demoPart struct{ Demo }

func (d demoPart) addTo(p *program) { p.demo = d.Demo }
