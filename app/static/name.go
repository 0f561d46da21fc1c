// Validation of file names, and the redirect to the canonical name of a directory.

package static

import (
	"io/fs"
	"strings"

	"tafe/app"
	"tafe/httpparse"
)

const nameBytesMax = 4096 // Linux's PATH_MAX

// acceptable reports whether a decoded name may be opened. It must be valid UTF-8 without empty elements, ".", "..",
// NUL and backslash, and may end with one slash. Each file therefore has exactly one name, and a doubly encoded name
// matches no file. Dotfiles are rejected here, so that a response does not reveal whether they exist.
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

// isPlainName reports whether name is the name of a file without a directory.
func isPlainName(name string) bool {
	return fs.ValidPath(name) && name != "." && !strings.ContainsAny(name, "/\x00\\")
}

// redirect redirects DIR to DIR/ by a relative reference, which needs no prefix, host or scheme. "./" prevents a name
// with a colon from being read as a scheme (RFC 3986 section 4.2).
func (s *Site) redirect(c *app.Context, name string) error {
	raw := c.RawPathView()
	last := raw[strings.LastIndexByte(raw, '/')+1:]
	if last == "" || last == "." || last == ".." {
		last = escape(name[strings.LastIndexByte(name, '/')+1:])
	}
	to := "./" + last + "/"
	if c.HasQuery() {
		to += "?" + c.RawQueryView()
	}
	return c.Redirect(301, to)
}

// escape percent-encodes all characters that are not unreserved (RFC 3986 section 2.3).
func escape(element string) string {
	b := make([]byte, 0, len(element)+8)
	for i := range len(element) {
		c := element[i]
		if httpparse.IsUnreserved(c) {
			b = append(b, c)
		} else {
			b = httpparse.AppendEscape(b, c)
		}
	}
	return string(b)
}
