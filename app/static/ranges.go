// Range requests: parsing of the Range field (RFC 9110 section 14).

package static

import (
	"math"
	"slices"
	"strings"
)

// span is the half-open byte range [start, end).
type span struct{ start, end int64 }

// parseRanges parses a Range field for content of size bytes. ok is false if the field is to be ignored: unknown
// unit, invalid syntax or more than most ranges. Ranges beyond the content are omitted; if none is left, the status
// is 416. Ranges that overlap or touch are merged, so the response is never longer than the content.
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
			continue // empty list elements are ignored (RFC 9110 section 5.6.1)
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
		ok = ok && (n == 0 || size > 0) // Content-Range cannot express a suffix of empty content
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

// parseDigits parses a number. Values above any file size are replaced by a large number.
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

// merge adds s to spans and merges it with all spans that it overlaps or touches, at the position of the first of
// them.
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
		at, i = min(at, i), 0 // the merged span may reach earlier spans
	}
	return slices.Insert(spans, min(at, len(spans)), s)
}
