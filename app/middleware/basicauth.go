// BasicAuth: the Basic authentication scheme (RFC 7617). It keeps keyed digests instead of passwords, and takes the same time for an unknown
// user as for a wrong password.

package middleware

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"tafe/app"
	"tafe/httpparse"
)

// credentialBytesMax bounds the base64 text of "user:password".
const credentialBytesMax = 1024

type basicAuth struct {
	key       [32]byte // of the digests; random
	passwords map[[32]byte][32]byte
	challenge string
}

type userKey struct{}

// BasicAuth admits requests with the credentials of one of users, a map from name to password. Others are answered with 401 and a challenge
// for realm. Use it with TLS only, because every request contains the password. It panics without users, on a user name that is empty or
// contains a colon, and on a realm that is not valid in a header.
func BasicAuth(realm string, users map[string]string) app.Middleware {
	if len(users) == 0 {
		panic("middleware: BasicAuth: no users")
	}
	if !httpparse.ValidFieldValue(realm) {
		panic("middleware: BasicAuth: the realm has control characters")
	}
	a := &basicAuth{passwords: make(map[[32]byte][32]byte, len(users))}
	a.challenge = `Basic realm="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(realm) + `", charset="UTF-8"`
	rand.Read(a.key[:])
	for user, password := range users {
		if user == "" || strings.Contains(user, ":") {
			panic("middleware: BasicAuth: a user name is empty or has a colon")
		}
		a.passwords[a.digest(user)] = a.digest(password)
	}
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			user, ok := a.check(c.HeaderView("Authorization"))
			if !ok {
				c.SetHeader("WWW-Authenticate", a.challenge)
				return app.Error(401, "")
			}
			c.Set(userKey{}, user)
			return next(c)
		}
	}
}

// User returns the user that BasicAuth has admitted; "" without BasicAuth. The string may be kept.
func User(c *app.Context) string {
	user, _ := c.Get(userKey{}).(string)
	return user
}

// check returns the user of valid credentials. It compares keyed digests with a secret key, so that neither the lookup of the user nor the
// comparison reveals by its duration how much of a name or password is right.
func (a *basicAuth) check(authorization string) (user string, ok bool) {
	scheme, encoded, found := strings.Cut(authorization, " ")
	if !found || !strings.EqualFold(scheme, "Basic") || len(encoded) > credentialBytesMax {
		return "", false
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimLeft(encoded, " "))
	if err != nil {
		return "", false
	}
	user, password, found := strings.Cut(string(decoded), ":")
	if !found {
		return "", false
	}
	want, known := a.passwords[a.digest(user)]
	got := a.digest(password)
	same := subtle.ConstantTimeCompare(want[:], got[:]) == 1 // want is zero for an unknown user, which no digest is
	return user, same && known
}

// digest returns SHA-256 of key and text. Digests are not exposed, so length extension is no concern.
func (a *basicAuth) digest(text string) [32]byte {
	var space [len(a.key) + credentialBytesMax]byte
	return sha256.Sum256(append(append(space[:0], a.key[:]...), text...))
}
