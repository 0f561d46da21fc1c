// Signed cookies: HMAC-SHA256 over name, value and end, with keys that can be replaced while clients hold cookies.

package app

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cookieKeyBytesMin is the shortest key in bytes.
const cookieKeyBytesMin = 32

// CookieKeys signs cookies, so that a client cannot change them or make one. The value is not encrypted: the client can read it. The signature
// covers the name, so that one cookie cannot stand for another, and an end, after which the cookie is refused even if a client has kept it.
//
// Any goroutine may use CookieKeys.
type CookieKeys struct{ keys [][]byte }

// NewCookieKeys returns CookieKeys that sign with the first key and accept signatures of all of them. To replace a key, put the new one first,
// and remove the old one when the last cookie that it has signed has ended. A key has 32 bytes or more, from a source of random numbers such as
// "openssl rand -hex 32". It is an error if there is none, or one is shorter.
func NewCookieKeys(keys ...[]byte) (*CookieKeys, error) {
	if len(keys) == 0 {
		return nil, errors.New("app: cookie keys: there is none")
	}
	k := &CookieKeys{}
	for i, key := range keys {
		if len(key) < cookieKeyBytesMin {
			return nil, fmt.Errorf("app: cookie keys: key %d has %d bytes: want %d or more", i+1, len(key), cookieKeyBytesMin)
		}
		k.keys = append(k.keys, slices.Clone(key))
	}
	return k, nil
}

// Set adds a signed cookie to the response, which Get accepts for the time valid. cookie has the value, which may be any text, and the
// attributes: its MaxAge says how long the browser keeps it, and is independent of valid. cookie is not changed.
func (k *CookieKeys) Set(c *Context, cookie *http.Cookie, valid time.Duration) {
	signed := *cookie
	signed.Value, signed.Quoted = k.seal(cookie.Name, cookie.Value, c.state.wall().Add(valid)), false
	c.SetCookie(&signed)
}

// Get returns the value of a signed cookie of the request. ok is false if there is none with that name, a valid signature, and an end in the
// future. Of several cookies with the name, those that are not valid are skipped: another host of the same domain can set them.
func (k *CookieKeys) Get(c *Context, name string) (value string, ok bool) {
	now := c.state.wall()
	for n, text := range c.cookieViews() {
		if n != name {
			continue
		}
		if value, ok = k.open(name, text, now); ok {
			return value, true
		}
	}
	return "", false
}

// seal returns VALUE.END.SIGNATURE; VALUE and SIGNATURE in base64, END in Unix seconds.
func (k *CookieKeys) seal(name, value string, end time.Time) string {
	b := base64.RawURLEncoding.AppendEncode(nil, []byte(value))
	b = strconv.AppendInt(append(b, '.'), end.Unix(), 10)
	signature := sign(k.keys[0], name, b)
	return string(base64.RawURLEncoding.AppendEncode(append(b, '.'), signature))
}

// open is the reverse of seal.
func (k *CookieKeys) open(name, sealed string, now time.Time) (value string, ok bool) {
	at := strings.LastIndexByte(sealed, '.')
	if at < 0 {
		return "", false
	}
	content := sealed[:at]
	signature, err := base64.RawURLEncoding.Strict().DecodeString(sealed[at+1:])
	if err != nil || !slices.ContainsFunc(k.keys, func(key []byte) bool { return hmac.Equal(signature, sign(key, name, []byte(content))) }) {
		return "", false
	}
	encoded, end, _ := strings.Cut(content, ".")
	seconds, err := strconv.ParseInt(end, 10, 64)
	if err != nil || now.Unix() >= seconds {
		return "", false
	}
	decoded, err := base64.RawURLEncoding.DecodeString(encoded)
	return string(decoded), err == nil
}

// cookieContext keeps signatures of cookies apart from other uses of the same key.
const cookieContext = "tafe signed cookie 1\x00"

// sign returns the signature of content as the value of a cookie. The length of the name separates it from the content.
func sign(key []byte, name string, content []byte) []byte {
	h := hmac.New(sha256.New, key)
	b := binary.BigEndian.AppendUint32([]byte(cookieContext), uint32(len(name)))
	_, _ = h.Write(append(append(b, name...), content...))
	return h.Sum(nil)
}
