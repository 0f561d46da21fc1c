// Renewal of certificates while the server runs, and reminders before they expire.

package edge

import "time"

const (
	renewEvery   = time.Minute
	expirySoon   = 7 * 24 * time.Hour
	expiryRemind = 24 * time.Hour
)

// renew checks the files of certificates every renewEvery, until the returned function is called.
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

// renewCertificates loads files that have changed. It logs new problems, or all of them if all is set.
func (e *edge) renewCertificates(all bool) {
	for _, s := range e.certs {
		before := s.Problems().Error()
		if s.Reload() {
			e.log.Info("certificates renewed", "expires", s.Expires().Format(time.RFC3339))
		}
		if problems := s.Problems(); all || problems.Error() != before {
			for _, p := range problems {
				e.log.Error("certificate not renewed", "reason", p.Error())
			}
		}
	}
}

// remind warns once a day of certificates that expire soon.
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
