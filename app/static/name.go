// This file owns which names are looked at: those that can mean one file and nothing else.

package static

import (
	"io/fs"
	"strings"

	"tafe/app"
)

const nameBytesMax = 4096 // Linux's PATH_MAX

// acceptable tells whether name, decoded, may be looked for: UTF-8, elements that are neither empty nor dots, a slash at the
// end at most, no NUL, and no backslash, which separates elements elsewhere. So each file has one name, and a name that was
// encoded twice is the name of no file. Dotfiles are hidden here, before anybody learns whether they exist.
func (s *Site) acceptable(name string) bool {
	if name == "" {
		return true
	}
	bare := strings.TrimSuffix(name, "/")
	if len(name) > nameBytesMax || !fs.ValidPath(bare) || bare == "." || strings.ContainsAny(bare, "\x00\\") {
		return false
	}
	return s.o.Dotfiles || bare[0] != '.' && !strings.Contains(bare, "/.")
}

// plain tells whether name is that of a file in any directory.
func isPlainName(name string) bool {
	return fs.ValidPath(name) && name != "." && !strings.ContainsAny(name, "/\x00\\")
}

// redirect sends the client from DIR to DIR/, relative to where it is, so that no prefix, host or scheme is needed. The dot
// keeps a name with a colon from being a scheme.
func (s *Site) redirect(c *app.Context, name string) error {
	raw := c.RawPath()
	last := raw[strings.LastIndexByte(raw, '/')+1:]
	if last == "" || last == "." || last == ".." {
		last = escape(name[strings.LastIndexByte(name, '/')+1:])
	}
	to := "./" + last + "/"
	if c.HasQuery() {
		to += "?" + c.RawQuery()
	}
	return c.Redirect(301, to)
}

// escape percent-encodes what is not unreserved (RFC 3986 section 2.3).
func escape(element string) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(element)+8)
	for i := range len(element) {
		c := element[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b = append(b, c)
			continue
		}
		b = append(b, '%', hex[c>>4], hex[c&15])
	}
	return string(b)
}
