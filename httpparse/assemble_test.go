package httpparse

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func fieldsOf(pairs ...string) (fields []Header) {
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, Header{[]byte(pairs[i]), []byte(pairs[i+1])})
	}
	return fields
}

func TestAssemble(t *testing.T) {
	var r Request
	require.NoError(t, r.Assemble(fieldsOf(":method", "POST", ":scheme", "https", ":path", "/a%20b?c=d", ":authority", "h:1", "cookie", "a=b",
		"x", "", "cookie", "c=d", "content-length", "5", "expect", "100-continue", "priority", "u=1", "traceparent", "00-1", "te", "trailers"), false, nil))
	require.Equal(t, "POST", string(r.Method))
	require.Equal(t, "/a%20b?c=d /a%20b c=d", string(r.Target)+" "+string(r.Path)+" "+string(r.Query))
	require.True(t, r.HasQuery && r.KeepAlive && r.Expect100)
	require.Equal(t, "h:1", string(r.Host))
	require.Equal(t, "h:1", string(r.Header("Host")))
	require.Equal(t, "a=b; c=d", string(r.Header("Cookie")))
	require.Equal(t, "u=1 00-1", string(r.Priority)+" "+string(r.Traceparent))
	require.Equal(t, FramingLength, r.Framing)
	require.Equal(t, int64(5), r.ContentLength)
	require.Equal(t, [2]uint8{2, 0}, [2]uint8{r.Major, r.Minor})
	require.Len(t, r.Headers(), 8)

	require.NoError(t, r.Assemble(fieldsOf(":method", "GET", ":scheme", "http", ":path", "/", "host", "H"), true, nil))
	require.Equal(t, FramingNone, r.Framing)
	require.Equal(t, "H", string(r.Host))
	require.NoError(t, r.Assemble(fieldsOf(":method", "PUT", ":scheme", "http", ":path", "/", "host", "h"), false, nil))
	require.Equal(t, FramingClose, r.Framing)
	require.Equal(t, int64(-1), r.ContentLength)
	require.NoError(t, r.Assemble(fieldsOf(":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/chat", ":authority", "h"), false, nil))
	require.Equal(t, "GET websocket", string(r.Method)+" "+string(r.Header("Upgrade")))
	require.True(t, r.Upgrade && r.Extended)
	require.NoError(t, r.Assemble(fieldsOf(":method", "OPTIONS", ":scheme", "http", ":path", "*", ":authority", "h"), true, nil))
	require.Equal(t, "*", string(r.Path))
}

// A cookie of many parts is joined into memory of its own, and not copied for each part.
func TestAssembleCookieParts(t *testing.T) {
	head := []byte("a=bNEXT")
	fields := fieldsOf(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "h")
	fields = append(fields, Header{[]byte("cookie"), head[:3]}, Header{[]byte("cookie"), []byte("c")})
	part := strings.Repeat("x", 300)
	for range 90 {
		fields = append(fields, Header{[]byte("cookie"), []byte(part)})
	}
	var r Request
	require.NoError(t, r.Assemble(fields, true, nil))
	require.Equal(t, "a=b; c"+strings.Repeat("; "+part, 90), string(r.Header("Cookie")))
	require.Equal(t, "a=bNEXT", string(head))
	require.Equal(t, "a=b", string(fields[4].Value))
	require.Less(t, testing.AllocsPerRun(10, func() { _ = r.Assemble(fields, true, nil) }), 30.0)
}

// FuzzAssemble: what is accepted over HTTP/2 is accepted over HTTP/1, with the same result, and the other way round, but for the differences
// that RFC 9113 makes.
func FuzzAssemble(f *testing.F) {
	for _, c := range [][5]string{
		{"GET", "/", "h", "x", "y"}, {"OPTIONS", "*", "h:80", "a-b", ""}, {"GET", "/a?b=c#d", "[::1]", "x", "\x00"}, {"P T", "x", "a b", "x y", " y"},
		{"GET", "http://h/", "h", "content-length", "1"}, {"CONNECT", "h:1", "h:1", "x", "y"}, {"GET", "/\xff", "", "expect", "other"},
	} {
		f.Add(c[0], c[1], c[2], c[3], c[4])
	}
	f.Fuzz(func(t *testing.T, method, path, host, name, value string) {
		switch strings.ToLower(name) {
		case "host", "cookie", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te", "content-length":
			return // they differ by design
		}
		if strings.HasPrefix(name, ":") || strings.ToLower(name) != name || strings.Trim(value, " \t") != value || strings.Trim(host, " \t") != host ||
			method == "CONNECT" || strings.HasPrefix(path, "http") || strings.HasPrefix(path, "HTTP") || strings.HasPrefix(path, "hTTP") {
			return
		}
		var one, two Request
		err1 := one.Parse([]byte(method+" "+path+" HTTP/1.1\r\nHost: "+host+"\r\n"+name+": "+value+"\r\n\r\n"), nil)
		err2 := two.Assemble(fieldsOf(":method", method, ":scheme", "http", ":path", path, ":authority", host, name, value), true, nil)
		if err1 == nil && !strings.HasPrefix(path, "/") && path != "*" { // the absolute form, which HTTP/2 does not have
			return
		}
		var e1, e2 *Error
		require.Equal(t, errors.As(err1, &e1), errors.As(err2, &e2), "%v, %v", err1, err2)
		if err1 != nil {
			return
		}
		require.Equal(t, one.Target, two.Target)
		require.Equal(t, string(one.Path)+"?"+string(one.Query), string(two.Path)+"?"+string(two.Query))
		require.Equal(t, string(one.Host), string(two.Host))
		require.Equal(t, string(one.Header(name)), string(two.Header(name)))
	})
}
