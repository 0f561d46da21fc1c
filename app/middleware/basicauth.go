// This file owns the Basic scheme (RFC 7617). It keeps no password, only keyed digests, and takes the same time for a
// wrong user as for a wrong password.

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

// credentialBytesMax bounds what is decoded, "user:password" in base64.
const credentialBytesMax = 1024

type basicAuth struct {
	key       [32]byte // of the digests; new in every process
	passwords map[[32]byte][32]byte
	challenge string
}

type userKey struct{}

// BasicAuth admits who names one of users with its password; others are answered 401 with a challenge for realm. Use
// it on TLS alone: the password travels with every request. It panics without users, on a user's name that is empty
// or holds a colon, and on a realm that no header can hold.
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
			panic("middleware: BasicAuth: a user's name is empty or has a colon")
		}
		a.passwords[a.digest(user)] = a.digest(password)
	}
	return func(next app.Handler) app.Handler {
		return func(c *app.Context) error {
			user, ok := a.check(c.Header("Authorization"))
			if !ok {
				c.SetHeader("WWW-Authenticate", a.challenge)
				return app.Error(401, "")
			}
			c.Set(userKey{}, user)
			return next(c)
		}
	}
}

// User is the name under which BasicAuth admitted the request, "" outside of it. It may be kept.
func User(c *app.Context) string {
	user, _ := c.Get(userKey{}).(string)
	return user
}

// check compares digests under a key that nobody outside knows: neither the lookup of the user nor the comparison
// takes a time that tells how much of a guess was right.
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
	same := subtle.ConstantTimeCompare(want[:], got[:]) == 1 // an unknown user's want is zero, no text's digest
	return user, same && known
}

// digest is SHA-256 over key and text. Nobody sees one, so that it cannot be extended.
func (a *basicAuth) digest(text string) [32]byte {
	var space [len(a.key) + credentialBytesMax]byte
	return sha256.Sum256(append(append(space[:0], a.key[:]...), text...))
}
