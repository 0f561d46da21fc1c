package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// binding is an App that answers with what it understood of a body.
func binding() *App {
	a := New(Options{Log: quiet})
	a.Post("/json", func(c *Context) error {
		var v order
		if err := c.BindJSON(&v); err != nil {
			return err
		}
		return c.String(200, fmt.Sprintf("%s x %d", v.Item, v.Count))
	}, BodyMax(1000))
	a.Post("/form", func(c *Context) error {
		if _, err := c.ParseForm(FormLimits{Fields: 3}); err != nil {
			return err
		}
		return c.String(200, c.Form("a")+"|"+c.Form("b"))
	}, BodyMax(1000))
	a.Post("/lenient", func(c *Context) error {
		value := c.Form("a")
		_, first := c.ParseForm(FormLimits{})
		_, second := c.ParseForm(FormLimits{Fields: 1000})
		if !errors.Is(first, second) {
			return fmt.Errorf("one body, two answers: %v and %v", first, second)
		}
		return c.String(200, "a="+value)
	})
	a.Post("/upload", func(c *Context) error {
		reader, err := c.MultipartReader()
		if err != nil {
			return err
		}
		total := int64(0)
		for {
			part, err := reader.NextPart()
			if err == io.EOF {
				return c.String(200, fmt.Sprint(total))
			}
			if err != nil {
				return err
			}
			n, err := io.Copy(io.Discard, part)
			if err != nil {
				return err
			}
			total += n
		}
	})
	return a
}

func TestBindOverTheWire(t *testing.T) {
	s := serve(t, binding(), 1)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	const urlencoded, asJSON, asMultipart = "application/x-www-form-urlencoded", "application/json", "multipart/form-data; boundary=b"
	for _, c := range []struct {
		path, contentType, body string
		chunked                 bool
		status                  int
		want, why               string
	}{
		{"/json", asJSON, `{"item":"tea","count":2}`, false, 200, "tea x 2", "a value"},
		{"/json", asJSON, `{"item":"tea","count":2}`, true, 200, "tea x 2", "in chunks"},
		{"/json", "text/plain", `{}`, false, 415, "must be JSON", "another type"},
		{"/json", asJSON, `{"item":2}`, false, 400, "item must be a string, not a number", "the message reaches the client"},
		{"/json", asJSON, strings.Repeat(" ", 1001), false, 413, "", "the route's limit, announced"},
		{"/json", asJSON, strings.Repeat(" ", 1001), true, 413, "", "the route's limit, in chunks"},
		{"/form", urlencoded, "a=1&b=%C3%A9", false, 200, "1|é", "a form"},
		{"/form", urlencoded, "a=1&b=2", true, 200, "1|2", "in chunks"},
		{"/form", asMultipart, multiparts("form-data; name=b\r\n\r\n2"), false, 200, "|2", "multipart"},
		{"/form", asMultipart, multiparts("form-data; name=b\r\n\r\n2"), true, 200, "|2", "multipart in chunks"},
		{"/form", urlencoded, "a=1&a=2&a=3&a=4", false, 413, "more than 3 fields", "the handler's limits"},
		{"/form", urlencoded, strings.Repeat("a", 1001), true, 413, "", "the route's limit"},
		{"/form", asMultipart, multiparts("form-data; name=b\r\n\r\n" + strings.Repeat("x", 1001)), true, 413, "", "is no malformed form, either"},
		{"/form", asJSON, "{}", false, 415, "must be a form", "no form"},
		{"/lenient", urlencoded, "a=1", false, 200, "a=1", "Form alone"},
		{"/lenient", urlencoded, "a=%", false, 200, "a=", "Form of a broken form"},
		{"/upload", asMultipart, multiparts("form-data; name=f; filename=x\r\n\r\n" + strings.Repeat("x", 3<<20)), false, 200, "3145728", "more than a form may hold in memory"},
		{"/upload", asMultipart, multiparts("form-data; name=f; filename=x\r\n\r\n" + strings.Repeat("x", 3<<20)), true, 200, "3145728", "in chunks"},
		{"/upload", urlencoded, "a=1", false, 415, "must be a form", "not multipart"},
		{"/upload", "multipart/form-data", "", false, 400, "boundary", "no boundary"},
	} {
		var body io.Reader = strings.NewReader(c.body)
		if c.chunked {
			body = struct{ io.Reader }{body}
		}
		resp, err := client.Post("http://"+s.Addr().String()+c.path, c.contentType, body)
		require.NoError(t, err, c.why)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err, c.why)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, c.status, resp.StatusCode, "%s: %s", c.why, got)
		require.Contains(t, string(got), c.want, c.why)
	}
}

func TestLimitsNarrowOnly(t *testing.T) {
	a := New(Options{Log: quiet})
	limited := func(time, body int64) Handler {
		return func(c *Context) error {
			c.LimitTime(1e9 * 3600)
			before, _ := c.Deadline()
			c.LimitTime(1e9 * 7200)
			after, _ := c.Deadline()
			if d := after.Sub(before); d > 1e9 || d < -1e9 {
				return errors.New("a later deadline replaced a sooner one")
			}
			if err := c.LimitBody(body); err != nil {
				return err
			}
			if err := c.LimitBody(1 << 40); err != nil {
				return err
			}
			b, err := c.Body()
			if err != nil {
				return err
			}
			return c.Bytes(200, "", b)
		}
	}
	a.Post("/four", limited(1, 4))
	s := serve(t, a, 1)
	for _, c := range []struct {
		body   string
		status int
		why    string
	}{{"abcd", 200, "as much as may be"}, {"abcde", 413, "one more, and a later, wider limit does not help"}} {
		resp, err := http.Post("http://"+s.Addr().String()+"/four", "", bytes.NewReader([]byte(c.body)))
		require.NoError(t, err, c.why)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, c.status, resp.StatusCode, c.why)
	}
	http.DefaultClient.CloseIdleConnections()
}

func ExampleContext_BindJSON() {
	a := New(Options{})
	a.Post("/orders", func(c *Context) error {
		var order struct {
			Item  string `json:"item"`
			Count uint8  `json:"count"`
		}
		if err := c.BindJSON(&order); err != nil {
			return err // 400, and the client reads where it went wrong
		}
		return c.String(201, fmt.Sprintf("%d of %s\n", order.Count, order.Item))
	})
	post(a, "/orders", "application/json", `{"item": "tea", "count": 2}`)
	post(a, "/orders", "application/json", `{"item": "tea", "count": "two"}`)
	post(a, "/orders", "application/json", `{"item": "tea", "size": 2}`)
	// Output:
	// 201 2 of tea
	// 400 JSON: line 1, column 30: count must be an integer of 8 bits, 0 or more, not a string
	// 400 JSON: unknown field "size"
}

func ExampleContext_Form() {
	a := New(Options{})
	a.Post("/login", func(c *Context) error {
		return c.String(200, "hello "+c.Form("user")+"\n")
	})
	post(a, "/login", "application/x-www-form-urlencoded", "user=J%C3%B6rg+B&password=x")
	// Output: 200 hello Jörg B
}

func ExampleContext_ParseForm() {
	a := New(Options{})
	a.Post("/avatar", func(c *Context) error {
		form, err := c.ParseForm(FormLimits{Files: 1, FileBytes: 64 << 10})
		if err != nil {
			return err // 413, 415 or 400
		}
		file := form.File("picture")
		if file == nil {
			return Error(400, "no picture")
		}
		return c.String(200, fmt.Sprintf("%s: %d bytes for %s\n", file.Name, len(file.Content), form.Value("user")))
	})
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	_ = w.WriteField("user", "ann")
	picture, _ := w.CreateFormFile("picture", "me.png")
	_, _ = picture.Write(make([]byte, 1000))
	_ = w.Close()
	post(a, "/avatar", w.FormDataContentType(), body.String())
	// Output: 200 me.png: 1000 bytes for ann
}

// post serves a for a moment and sends it one request.
func post(a *App, path, contentType, body string) {
	s, err := Listen(a, ServerConfig{Addr: "127.0.0.1:0", Loops: 1})
	if err != nil {
		panic(err)
	}
	req, err := http.NewRequest("POST", "http://"+s.Addr().String()+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", "text/plain")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		panic(err)
	}
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(err)
	}
	_ = resp.Body.Close()
	fmt.Printf("%d %s", resp.StatusCode, answer)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		panic(err)
	}
}
