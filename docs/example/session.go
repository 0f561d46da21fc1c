// Sessions: a signed cookie with the name of the user. The server keeps no state for them.

package main

import (
	"crypto/subtle"
	"net/http"
	"time"

	"tafe/app"
	"tafe/app/edge"
)

const sessionCookie = "session"

type sessions struct {
	keys  *app.CookieKeys
	users map[string]edge.Secret
	time  time.Duration
}

// newSessions returns sessions whose cookies are signed with key. Those that before has signed are valid, too; it may be empty.
func newSessions(key, before string, users map[string]edge.Secret, t time.Duration) (*sessions, error) {
	all := [][]byte{[]byte(key)}
	if before != "" {
		all = append(all, []byte(before))
	}
	keys, err := app.NewCookieKeys(all...)
	return &sessions{keys, users, t}, err
}

// userKey is the key under which a Context has the name of its user.
type userKey struct{}

// userOf returns the user of a request that has passed require.
func userOf(c *app.Context) string { return c.Get(userKey{}).(string) }

// login answers POST /login: {"user": …, "password": …}.
func (s *sessions) login(c *app.Context) error {
	var credentials struct {
		User     string `json:"user"`
		Password string `json:"password"`
	}
	if err := c.Bind(&credentials); err != nil {
		return err
	}
	password, known := s.users[credentials.User]
	// Compared for unknown users too, so that the time does not tell them.
	same := subtle.ConstantTimeCompare([]byte(password.Reveal()), []byte(credentials.Password)) == 1
	if !known || !same {
		return app.Error(http.StatusUnauthorized, "wrong user or password")
	}
	cookie := s.cookie(c)
	cookie.Value, cookie.MaxAge = credentials.User, int(s.time.Seconds())
	s.keys.Set(c, cookie, s.time)
	return c.NoContent(http.StatusNoContent)
}

// logout answers POST /logout.
func (s *sessions) logout(c *app.Context) error {
	cookie := s.cookie(c)
	cookie.MaxAge = -1
	c.SetCookie(cookie)
	return c.NoContent(http.StatusNoContent)
}

func (s *sessions) cookie(c *app.Context) *http.Cookie {
	return &http.Cookie{Name: sessionCookie, Path: "/", HttpOnly: true, Secure: c.Secure(), SameSite: http.SameSiteLaxMode}
}

// require is the middleware of routes for users.
func (s *sessions) require(next app.Handler) app.Handler {
	return func(c *app.Context) error {
		user, signed := s.keys.Get(c, sessionCookie)
		if _, exists := s.users[user]; !signed || !exists {
			return app.Error(http.StatusUnauthorized, "log in first")
		}
		c.Set(userKey{}, user)
		return next(c)
	}
}
