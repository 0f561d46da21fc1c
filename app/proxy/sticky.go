// The sticky cookie, which binds a client to a server.

package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"tafe/app"
)

// stickyID returns the value of the cookie for a server: the same in every process, and without its address.
func stickyID(group, addr string) string {
	sum := sha256.Sum256([]byte(group + "\x00" + addr))
	return hex.EncodeToString(sum[:8])
}

// stickyCookie returns the Set-Cookie value that binds the client to the server of x; "" if it has that cookie already,
// or the group is not sticky.
func (f *Forwarder) stickyCookie(c *app.Context, x *forward) string {
	sticky := f.group.options.Sticky
	if sticky == nil || x.bound == x.server.id {
		return ""
	}
	value := sticky.Cookie + "=" + x.server.id + "; Path=/; HttpOnly; SameSite=Lax"
	if sticky.MaxAge > 0 {
		value += "; Max-Age=" + strconv.FormatInt(int64(sticky.MaxAge/time.Second), 10)
	}
	if c.Scheme() == "https" {
		value += "; Secure"
	}
	return value
}
