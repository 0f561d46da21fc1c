// The value of the Date field.

package httpparse

import (
	"net/http"
	"time"
)

// DateCache formats the value of a Date field (RFC 9110 section 5.6.7) at most once per second. The zero value is
// ready to use. It is not safe for concurrent use: each loop has its own.
type DateCache struct {
	unix      int64
	formatted bool
	text      [len(http.TimeFormat)]byte
}

const yearMaxUnix = 253402300799 // the last second of year 9999: the format has four digits

// At returns the 29 bytes of the date for unix, in seconds, limited to the years 1970 to 9999. They are valid until
// the next call.
func (c *DateCache) At(unix int64) []byte {
	if unix != c.unix || !c.formatted {
		c.unix, c.formatted = unix, true
		time.Unix(min(max(unix, 0), yearMaxUnix), 0).UTC().AppendFormat(c.text[:0], http.TimeFormat)
	}
	return c.text[:]
}
