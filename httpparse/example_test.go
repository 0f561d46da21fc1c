package httpparse_test

import (
	"fmt"

	"tafe/httpparse"
)

// A head that arrives in pieces is parsed once it is complete.
func ExampleRequest_Parse() {
	var (
		lim    = httpparse.DefaultLimits()
		req    httpparse.Request
		buffer []byte
		resume int
	)
	for _, piece := range []string{"GET /hello?to=world HTTP/1.1\r\nHo", "st: example.com\r\n", "\r\nthe next request"} {
		buffer = append(buffer, piece...)
		skip, end, next, err := httpparse.FindHead(buffer, resume, &lim)
		if err != nil {
			fmt.Println(err)
			return
		}
		if end == 0 {
			resume = next
			continue
		}
		if err := req.Parse(buffer[skip:end], &lim); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s %s on %s, left: %q\n", req.Method, req.Path, req.Host, buffer[end:])
	}
	for key, value := range httpparse.Query(req.Query) {
		fmt.Printf("%s is %s\n", key, value)
	}
	// Output:
	// GET /hello on example.com, left: "the next request"
	// to is world
}

// An error has the status to answer with and a slug for logs and metrics.
func ExampleError() {
	var req httpparse.Request
	err := req.Parse([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), nil)
	fmt.Println(err)
	// Output:
	// httpparse: 400 length-and-coding: both Content-Length and Transfer-Encoding are present (RFC 9112 section 6.3)
}

// A body is decoded from pieces of any size.
func ExampleBody() {
	var (
		req  httpparse.Request
		d    httpparse.Body
		data []byte
	)
	err := req.Parse([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), nil)
	d.BeginRequest(&req, nil)
	for _, piece := range []string{"5\r\nhel", "lo\r\n0\r\nX-Count: ", "1\r\n\r\n"} {
		if err == nil {
			data, _, err = d.Decode(data, []byte(piece))
		}
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s, done: %v, %s: %s\n", data, d.Done(), d.Trailers()[0].Name, d.Trailers()[0].Value)
	// Output:
	// hello, done: true, X-Count: 1
}

// A field value that contains CR or LF is rejected.
func ExampleAppendHeader() {
	var dates httpparse.DateCache
	out := httpparse.AppendStatusLine(nil, 302)
	out = httpparse.AppendDate(out, dates.At(784111777))
	out = httpparse.AppendContentLength(out, 0)
	out, err := httpparse.AppendHeader(out, "Location", "/next\r\nSet-Cookie: evil=1")
	fmt.Println(err)
	out, err = httpparse.AppendHeader(out, "Location", "/next")
	fmt.Println(err)
	fmt.Printf("%q\n", httpparse.AppendHeadEnd(out))
	// Output:
	// httpparse: 500 unsafe-value: the field value to send contains a control byte
	// <nil>
	// "HTTP/1.1 302 Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\nLocation: /next\r\n\r\n"
}
