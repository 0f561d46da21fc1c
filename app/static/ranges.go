// This file owns ranges of bytes (RFC 9110 section 14): from the header to what is sent. It knows no file.

package static

import (
	"math"
	"slices"
	"strings"
)

// span is bytes from start up to, not including, end.
type span struct{ start, end int64 }

// parseRanges reads a Range of a content of size bytes. ok is false where the header does not count: another unit, a syntax
// that is none, more than most ranges. Ranges beyond the content are left out: none left is 416. Those that overlap or touch
// become one, so what is sent is never longer than the content.
func parseRanges(header string, size int64, most int, space []span) (spans []span, ok bool) {
	const unit = "bytes="
	if len(header) < len(unit) || !strings.EqualFold(header[:len(unit)], unit) {
		return nil, false
	}
	spans = space[:0]
	count := 0
	for rest, more := header[len(unit):], true; more; {
		var one string
		one, rest, more = strings.Cut(rest, ",")
		one = strings.Trim(one, " \t")
		if one == "" {
			continue // empty elements of a list do not count (section 5.6.1)
		}
		if count++; count > most {
			return nil, false
		}
		s, inside, valid := parseRange(one, size)
		if !valid {
			return nil, false
		}
		if inside {
			spans = merge(spans, s)
		}
	}
	return spans, count > 0
}

func parseRange(s string, size int64) (r span, inside, valid bool) {
	first, last, dash := strings.Cut(s, "-")
	if !dash {
		return r, false, false
	}
	if first == "" {
		n, ok := parseDigits(last)
		ok = ok && (n == 0 || size > 0) // a suffix of nothing is all of it, and Content-Range cannot say so
		return span{max(size-n, 0), size}, n > 0, ok
	}
	start, ok := parseDigits(first)
	if !ok {
		return r, false, false
	}
	end := int64(math.MaxInt64)
	if last != "" {
		if end, ok = parseDigits(last); !ok || end < start {
			return r, false, false
		}
	}
	return span{start, min(end, size-1) + 1}, start < size, true
}

// parseDigits reads a number; one that is too large for any file is the largest.
func parseDigits(s string) (n int64, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		if n > (math.MaxInt64-9)/10 {
			n = math.MaxInt64 / 100
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, s != ""
}

// merge adds s to spans, in the place of the first that it overlaps or touches, and takes in all of those.
func merge(spans []span, s span) []span {
	at := len(spans)
	for i := 0; i < len(spans); {
		o := spans[i]
		if s.start > o.end || o.start > s.end {
			i++
			continue
		}
		s = span{min(s.start, o.start), max(s.end, o.end)}
		spans = slices.Delete(spans, i, i+1)
		at, i = min(at, i), 0 // the grown one may reach others that were passed
	}
	return slices.Insert(spans, min(at, len(spans)), s)
}
