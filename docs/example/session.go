// Sessions: a signed cookie with the name of the user and the end of the session. The server keeps no state for them.

package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tafe/app"
	"tafe/app/edge"
)

const sessionCookie = "session"

type sessions struct {
	key   []byte
	users map[string]edge.Secret
	time  time.Duration
}

// userKey is the key under which a Context has the name of its user.
type userKey struct{}

// userOf returns the user of a request that has passed require.
func userOf(c *app.Context) string { return c.Get(userKey{}).(string) }

// login answers POST /login: {"user": …, "password": …}.
func (s *sessions) login(c *app.Context) error {
	var credentials struct{ User, Password string }
	if err := c.BindJSON(&credentials); err != nil {
		return err
	}
	password, known := s.users[credentials.User]
	// Compared for unknown users too, so that the time does not tell them.
	same := subtle.ConstantTimeCompare([]byte(password.Reveal()), []byte(credentials.Password)) == 1
	if !known || !same {
		return app.Error(http.StatusUnauthorized, "wrong user or password")
	}
	s.setCookie(c, s.token(credentials.User, time.Now().Add(s.time)), int(s.time.Seconds()))
	return c.NoContent(http.StatusNoContent)
}

// logout answers POST /logout.
func (s *sessions) logout(c *app.Context) error {
	s.setCookie(c, "", -1)
	return c.NoContent(http.StatusNoContent)
}

func (s *sessions) setCookie(c *app.Context, value string, age int) {
	cookie := http.Cookie{Name: sessionCookie, Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: c.Secure(), SameSite: http.SameSiteLaxMode}
	c.AddHeader("Set-Cookie", cookie.String())
}

// require is the middleware of routes for users.
func (s *sessions) require(next app.Handler) app.Handler {
	return func(c *app.Context) error {
		user, ok := s.verify(cookieOf(c), time.Now())
		if !ok {
			return app.Error(http.StatusUnauthorized, "log in first")
		}
		c.Set(userKey{}, user)
		return next(c)
	}
}

func cookieOf(c *app.Context) string {
	cookies, err := http.ParseCookie(c.Header("Cookie"))
	if err != nil {
		return ""
	}
	for _, cookie := range cookies {
		if cookie.Name == sessionCookie {
			return cookie.Value
		}
	}
	return ""
}

// token returns USER.END.SIGNATURE; USER and SIGNATURE in base64, END in Unix seconds.
func (s *sessions) token(user string, end time.Time) string {
	content := base64.RawURLEncoding.EncodeToString([]byte(user)) + "." + strconv.FormatInt(end.Unix(), 10)
	return content + "." + base64.RawURLEncoding.EncodeToString(s.sign(content))
}

// verify returns the user of a token that has not ended, and who still exists.
func (s *sessions) verify(token string, now time.Time) (user string, ok bool) {
	at := strings.LastIndexByte(token, '.')
	if at < 0 {
		return "", false
	}
	content := token[:at]
	signature, err := base64.RawURLEncoding.DecodeString(token[at+1:])
	if err != nil || !hmac.Equal(signature, s.sign(content)) {
		return "", false
	}
	name, end, _ := strings.Cut(content, ".")
	seconds, err := strconv.ParseInt(end, 10, 64)
	if err != nil || now.Unix() >= seconds {
		return "", false
	}
	decoded, err := base64.RawURLEncoding.DecodeString(name)
	if err != nil {
		return "", false
	}
	_, ok = s.users[string(decoded)]
	return string(decoded), ok
}

func (s *sessions) sign(content string) []byte {
	h := hmac.New(sha256.New, s.key)
	_, _ = h.Write([]byte(content))
	return h.Sum(nil)
}
