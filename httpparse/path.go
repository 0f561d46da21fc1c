// Percent-decoding of a path and removal of dot segments.

package httpparse

import "bytes"

// DecodePath appends the percent-decoded path to dst (RFC 3986 section 2.1). An invalid escape and %00 are errors
// with status 400. dst may be path[:0]. An escaped slash becomes a slash, so DecodePath must be called before
// NormalizePath.
func DecodePath(dst, path []byte) ([]byte, error) {
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			if !escapeAt(path, i) {
				return dst, badEscape.inRequest()
			}
			if c = hexValue(path[i+1])<<4 | hexValue(path[i+2]); c == 0 {
				return dst, escapedNUL.inRequest()
			}
			i += 2
		}
		dst = append(dst, c)
	}
	return dst, nil
}

func escapeAt(b []byte, i int) bool {
	return i+2 < len(b) && class[b[i+1]]&class[b[i+2]]&hexByte != 0
}

// NormalizePath appends path to dst without its dot segments (RFC 3986 section 5.2.4). path is decoded and starts
// with '/'. A ".." above the root, which the RFC ignores, is an error with status 400. Empty segments are kept. dst
// may be path[:0].
func NormalizePath(dst, path []byte) ([]byte, error) {
	root := len(dst)
	if len(path) == 0 || path[0] != '/' {
		return dst, badTarget.inRequest()
	}
	for i := 0; i < len(path); {
		end := i + 1
		if n := bytes.IndexByte(path[end:], '/'); n >= 0 {
			end += n
		} else {
			end = len(path)
		}
		last := end == len(path)
		switch segment := path[i+1 : end]; {
		case string(segment) == ".":
			if last {
				dst = append(dst, '/')
			}
		case string(segment) == "..":
			if len(dst) == root {
				return dst, aboveRoot.inRequest()
			}
			dst = dst[:root+bytes.LastIndexByte(dst[root:], '/')]
			if last {
				dst = append(dst, '/')
			}
		default:
			dst = append(dst, path[i:end]...)
		}
		i = end
	}
	return dst, nil
}
