// Adding and removing fields of a parsed request, for middlewares.

package httpparse

import "slices"

// RemoveHeaders removes the fields with this name, case-insensitively and with '_' equal to '-': gateways to CGI and its
// relatives do not distinguish the two. Members of r that were parsed from fields, such as Host, do not change.
func (r *Request) RemoveHeaders(name string) {
	r.splitFields()
	r.headers = slices.DeleteFunc(r.headers, func(h Header) bool { return similarName(h.Name, name) })
}

// AddHeader appends a field. The slices are not copied. Members of r that were parsed from fields do not change.
func (r *Request) AddHeader(name, value []byte) {
	r.splitFields()
	r.headers = append(r.headers, Header{name, value})
}

func similarName(name []byte, want string) bool {
	if len(name) != len(want) {
		return false
	}
	for i := range name {
		if a, b := foldDash(name[i]), foldDash(want[i]); a != b {
			return false
		}
	}
	return true
}

// foldDash returns letters in lower case and '-' for '_'.
func foldDash(b byte) byte {
	switch {
	case 'A' <= b && b <= 'Z':
		return b | 0x20
	case b == '_':
		return '-'
	}
	return b
}
