// The formats of the access log. Most texts come from the client; they are escaped so that they cannot end a line, forge a field, or send
// control characters to a terminal.

package middleware

import (
	"strconv"
	"time"
	"unicode/utf8"

	"tafe/app"
)

// AccessLogFormat is the format of the lines.
type AccessLogFormat uint8

const (
	// AccessLogJSON writes a JSON object per line. Times are RFC 3339 in UTC, durations in milliseconds: "ms" is the sum of "queue_ms",
	// "slice_ms" and "backend_ms"; see app.Timing. Empty texts are omitted, and "client" if it is the address of "remote".
	AccessLogJSON AccessLogFormat = iota
	// AccessLogCombined writes the combined format of Apache and nginx, with times in UTC. It has no durations and no request IDs.
	AccessLogCombined
)

func (f AccessLogFormat) append() func(b []byte, e *app.Entry) []byte {
	if f == AccessLogCombined {
		return appendCombined
	}
	return appendJSON
}

func appendJSON(b []byte, e *app.Entry) []byte {
	b = append(b, `{"time":"`...)
	b = e.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, e.Bytes, 10)
	t := &e.Timing
	b = appendMillis(append(b, `,"ms":`...), t.Total)
	if t.Total > 0 { // the request reached a handler
		b = appendMillis(append(b, `,"queue_ms":`...), t.Queued)
		b = appendMillis(append(b, `,"slice_ms":`...), t.Slices)
		b = appendMillis(append(b, `,"backend_ms":`...), t.Backend)
	}
	b = appendJSONText(b, "method", e.Method)
	b = appendJSONText(b, "target", e.Target)
	if e.Method != "" {
		b = appendJSONText(b, "protocol", e.Proto)
	}
	b = appendJSONText(b, "route", e.Route)
	b = appendJSONText(b, "remote", e.Remote)
	if e.ClientIP != app.HostOf(e.Remote) {
		b = appendJSONText(b, "client", e.ClientIP)
	}
	b = appendJSONText(b, "request_id", e.RequestID)
	b = appendJSONText(b, "user_agent", e.UserAgent)
	b = appendJSONText(b, "referer", e.Referer)
	b = appendJSONText(b, "reason", e.Reason)
	b = appendJSONText(b, "grpc_status", e.GRPCStatus)
	return append(b, '}')
}

// appendMillis appends d in milliseconds, with up to three decimals.
func appendMillis(b []byte, d time.Duration) []byte {
	micros := max(0, d.Microseconds())
	b = strconv.AppendInt(b, micros/1000, 10)
	if micros %= 1000; micros > 0 {
		b = append(b, '.', byte('0'+micros/100), byte('0'+micros/10%10), byte('0'+micros%10))
	}
	return b
}

const hexDigits = "0123456789abcdef"

// appendJSONText appends a string member (RFC 8259 section 7) unless it is empty. Invalid UTF-8, DEL and the C1 control characters become
// U+FFFD.
func appendJSONText(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":"`...)
	for s != "" {
		n := plainBytes(s)
		b = append(b, s[:n]...)
		if s = s[n:]; s == "" {
			break
		}
		n = 1
		switch c := s[0]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			var r rune
			if r, n = utf8.DecodeRuneInString(s); r < 0xa0 {
				r = utf8.RuneError
			}
			b = utf8.AppendRune(b, r)
		}
		s = s[n:]
	}
	return append(b, '"')
}

// plainBytes returns the number of leading bytes of s that need no escaping in either format.
func plainBytes(s string) int {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return i
		}
	}
	return len(s)
}

func appendCombined(b []byte, e *app.Entry) []byte {
	client := e.ClientIP
	if client == "" {
		client = e.Remote
	}
	b = appendCombinedText(b, client)
	b = append(b, " - - ["...)
	b = e.Time.UTC().AppendFormat(b, "02/Jan/2006:15:04:05 +0000")
	b = append(b, `] "`...)
	if e.Method == "" {
		b = append(b, '-')
	} else {
		b = append(appendEscaped(b, e.Method), ' ')
		b = append(append(appendEscaped(b, e.Target), ' '), e.Proto...)
	}
	b = append(b, `" `...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	b = append(b, ' ')
	if e.Bytes == 0 {
		b = append(b, '-')
	} else {
		b = strconv.AppendInt(b, e.Bytes, 10)
	}
	b = append(appendCombinedText(append(b, ` "`...), e.Referer), `" "`...)
	return append(appendCombinedText(b, e.UserAgent), '"')
}

func appendCombinedText(b []byte, s string) []byte {
	if s == "" {
		return append(b, '-')
	}
	return appendEscaped(b, s)
}

// appendEscaped escapes s as Apache does: quotes and backslashes with a backslash, and other bytes that are not printable ASCII as \xHH.
func appendEscaped(b []byte, s string) []byte {
	for s != "" {
		n := plainBytes(s)
		b = append(b, s[:n]...)
		if s = s[n:]; s == "" {
			break
		}
		if c := s[0]; c == '"' || c == '\\' {
			b = append(b, '\\', c)
		} else {
			b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		}
		s = s[1:]
	}
	return b
}
