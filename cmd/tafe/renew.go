// renew.go owns certificates that change while the server runs: when their files are looked at, and what is said about it.

package main

import (
	"strings"
	"time"

	"tafe/app"
	"tafe/cmd/tafe/internal/config"
)

const (
	renewEvery   = time.Minute
	expirySoon   = 7 * 24 * time.Hour
	expiryRemind = 24 * time.Hour
)

// renew looks at the certificates' files from time to time, until the returned function is called.
func (e *edge) renew() (end func()) {
	if len(e.certs) == 0 {
		return func() {}
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(renewEvery)
		defer tick.Stop()
		reminded := time.Time{}
		for {
			e.remind(&reminded)
			select {
			case <-stop:
				return
			case <-tick.C:
				e.renewCertificates(false)
			}
		}
	}()
	return func() { close(stop); <-done }
}

// renewCertificates reads again what has changed, and logs what is wrong with it where that is new, or with all.
func (e *edge) renewCertificates(all bool) {
	for _, s := range e.certs {
		before := s.Problems().Error()
		if s.Reload() {
			e.log.Info("certificates renewed", "expires", s.Expires().Format(time.RFC3339))
		}
		if problems := s.Problems(); all || problems.Error() != before {
			for _, p := range problems {
				e.log.Error("certificates stay as they were", "reason", p.Error())
			}
		}
	}
}

// problems are the parts of the configuration that cannot be used now: those of routes and of listeners.
func (e *edge) problems() (all []string) {
	var problems config.Problems
	if r := e.shown.Load(); r != nil {
		problems = append(problems, r.Broken()...)
	}
	for _, s := range e.certs {
		problems = append(problems, s.Problems()...)
	}
	for _, p := range problems {
		all = append(all, p.Error())
	}
	return all
}

func (e *edge) logProblems() {
	for _, p := range e.problems() {
		e.logProblem(p)
	}
}

func (e *edge) logEach(problems config.Problems) {
	for _, p := range problems {
		e.logProblem(p.Error())
	}
}

func (e *edge) logWarnings() {
	for _, w := range e.settings.Warnings() {
		e.log.Warn("the configuration may not mean what it says", "detail", w.Error())
	}
}

func (e *edge) logProblem(text string) {
	e.log.Error("a part of the configuration cannot be used: the others are served", "detail", text)
}

// remind warns once a day of certificates that are about to expire.
func (e *edge) remind(last *time.Time) {
	now := time.Now()
	if now.Sub(*last) < expiryRemind {
		return
	}
	for _, s := range e.certs {
		if at := s.Expires(); !at.IsZero() && at.Sub(now) < expirySoon {
			e.log.Warn("a certificate expires soon", "expires", at.Format(time.RFC3339))
			*last = now
		}
	}
}

// urls are what the server is reached by.
func (e *edge) urls() (all []string) {
	secure := map[int]bool{}
	for i := range e.settings.Listeners {
		secure[i] = e.settings.Listeners[i].TLS != nil
	}
	for i, a := range e.server.Addrs() {
		scheme := "http://"
		if secure[i] {
			scheme = "https://"
		}
		if a.Network() == "unix" {
			all = append(all, "unix:"+a.String())
			continue
		}
		all = append(all, scheme+a.String()+"/")
	}
	return all
}

// addresses lists where it was to listen.
func addresses(listeners []app.Listener) string {
	var all []string
	for _, l := range listeners {
		all = append(all, l.Addr)
	}
	return strings.Join(all, ", ")
}
