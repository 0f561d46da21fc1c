// A server for the tests of a program: its configuration file and its parts, on free ports, in the process of the test.

package edge

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"strings"
	"time"

	"tafe/app/edge/internal/config"
	"tafe/loop/reactor"
)

// TB is what StartTest needs of a testing.TB.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Output() io.Writer
}

// testLoops is the number of loops if the file has none: more than one, so that a test finds state that loops share without a lock.
const testLoops = 2

// StartTest serves a configuration file with the parts of a program until the test ends, and returns the URL of the first listener, without a slash at its end. All
// listeners and the admin listener of the file are on free ports of 127.0.0.1 instead, systemd and server.handover are not used, no certificates are obtained, and the log
// goes to the output of the test. The test fails if the file has a problem.
func StartTest(t TB, file string, parts ...Part) (url string) {
	t.Helper()
	env := &Env{Dialer: &reactor.Dialer{}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	registry := newProgram(parts).registry(env)
	settings, err := config.Load(file, registry)
	if err != nil {
		t.Fatalf("%v", err)
	}
	const free = "127.0.0.1:0"
	settings.Server.Listen, settings.Admin.Listen, settings.Server.Handover = free, free, ""
	settings.WithoutACME()
	for i := range settings.Listeners {
		settings.Listeners[i].Listen = free
	}
	settings.Server.Loops = cmp.Or(settings.Server.Loops, testLoops)
	env.Loops = settings.Server.Loops
	e := &edge{env: env, registry: registry, flags: &serveFlags{file: file}, settings: settings, log: env.Log, level: new(slog.LevelVar),
		stderr: newLogQueue(t.Output(), logQueueBytes)}
	if err := e.start(context.Background(), t.Output()); err != nil {
		e.stderr.close(logFlushWait)
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(e.settings.Timeouts.Drain))
		defer cancel()
		e.resources.Drain()
		if err := e.server.Drain(ctx); err != nil {
			t.Errorf("the drain: %v", err)
		}
		if err := e.close(); err != nil {
			t.Errorf("the end: %v", err)
		}
		e.stderr.close(logFlushWait)
	})
	return strings.TrimSuffix(e.urls()[0], "/")
}
