package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type paging struct {
	Page int  `query:"page"`
	Size *int `query:"size"`
}

type bound struct {
	paging
	ID     int64          `path:"id"`
	Tags   []string       `query:"tag"`
	Wait   time.Duration  `query:"wait"`
	On     bool           `query:"on"`
	Ratio  float32        `query:"ratio"`
	Small  uint8          `query:"small"`
	Addr   netip.Addr     `header:"X-Addr"`
	Accept []string       `header:"Accept-Language"`
	Theme  string         `cookie:"theme"`
	Title  string         `json:"title" `
	Deep   map[string]int `json:"deep"`
	Secret string         // no tag: a client cannot set it
}

type boundForm struct {
	Title  string    `form:"title,required"`
	Counts []int     `form:"n"`
	Avatar *FormFile `form:"avatar"`
	Note   string    `json:"note"`
}

type checked struct {
	Age int `query:"age"`
}

// Validate implements Validator.
func (c *checked) Validate() error {
	switch {
	case c.Age < 0:
		return FieldErrors{{In: "query", Field: "age", Message: "must not be negative"}}
	case c.Age > 200:
		return Error(409, "too old")
	}
	return nil
}

// bindServer answers with what Bind has made of a request.
func bindServer() *App {
	a := New(Options{Log: quiet, Validator: func(v any) error {
		if c, ok := v.(*checked); ok && c.Age == 13 {
			return errors.New("age is 13")
		}
		return nil
	}})
	show := func(c *Context, v any) error {
		if err := c.Bind(v); err != nil {
			return err
		}
		return c.JSON(200, v)
	}
	a.Handle("", "/all/{id}", func(c *Context) error {
		v := bound{paging: paging{Page: 1}, Secret: "kept"}
		if err := c.Bind(&v); err != nil {
			return err
		}
		size := 0
		if v.Size != nil {
			size = *v.Size
		}
		return c.String(200, fmt.Sprintln(v.ID, v.Page, size, v.Tags, v.Wait, v.On, v.Ratio, v.Small, v.Addr, v.Accept, v.Theme, v.Title, v.Deep, v.Secret))
	})
	a.Post("/form", func(c *Context) error {
		var v boundForm
		if err := c.Bind(&v); err != nil {
			return err
		}
		avatar := ""
		if v.Avatar != nil {
			avatar = v.Avatar.Name + "=" + string(v.Avatar.Content)
		}
		return c.String(200, fmt.Sprint(v.Title, v.Counts, avatar, v.Note))
	})
	a.Get("/checked", func(c *Context) error { return show(c, &checked{}) })
	a.Get("/wrong/value", func(c *Context) error { return c.Bind(checked{}) })
	a.Get("/wrong/none", func(c *Context) error { return show(c, &struct{ A int }{}) })
	a.Get("/wrong/type", func(c *Context) error {
		return show(c, &struct {
			A chan int `query:"a"`
		}{})
	})
	a.Get("/wrong/two", func(c *Context) error {
		return show(c, &struct {
			A int `query:"a" path:"a"`
		}{})
	})
	a.Get("/wrong/hidden", func(c *Context) error {
		return show(c, &struct {
			a int `query:"a"`
		}{})
	})
	return a
}

func TestBind(t *testing.T) {
	a := bindServer()
	defer a.Close()
	for _, c := range []struct {
		why, method, target, headers, body string
		status                             int
		want                               string
	}{
		{"nothing but the path", "GET", "/all/7", "", "", 200, "7 1 0 [] 0s false 0 0 invalid IP []   map[] kept"},
		{"every source", "POST", "/all/7?page=3&size=20&tag=a&tag=b%20c&wait=1m&on=true&ratio=0.5&small=255",
			"X-Addr: 192.0.2.1|Accept-Language: de, fr|Accept-Language: en|Cookie: theme=dark|Content-Type: application/json", `{"title":"x","deep":{"a":1}}`, 200,
			"7 3 20 [a b c] 1m0s true 0.5 255 192.0.2.1 [de fr en] dark x map[a:1] kept"},
		{"a path that is no number", "GET", "/all/x", "", "", 400, `path: id must be an integer of 64 bits, not "x"`},
		{"all faults at once", "GET", "/all/7?page=x&small=256&wait=1", "X-Addr: here", "", 400,
			`query: page must be an integer of 64 bits, not "x"; query: wait must be a duration, such as 1m30s, not "1"; query: small must be an integer of 8 bits, 0 or more, not "256"; header: X-Addr is not valid: "here"`},
		{"a body cannot set the path's field", "POST", "/all/7", "Content-Type: application/json", `{"ID":8}`, 400, `unknown field "ID"`},
		{"nor a field without a tag", "POST", "/all/7", "Content-Type: application/json", `{"Secret":"stolen"}`, 400, `unknown field "Secret"`},
		{"nor an embedded one", "POST", "/all/7", "Content-Type: application/json", `{"Page":8}`, 400, `unknown field "Page"`},
		{"a member of another type", "POST", "/all/7", "Content-Type: application/json", `{"title":1}`, 400, "title must be a string, not a number"},
		{"no body where one is needed", "POST", "/all/7", "", "", 415, "must be JSON"},
		{"a form", "POST", "/form", "Content-Type: application/x-www-form-urlencoded", "title=a%20b&n=1&n=2", 200, "a b[1 2]"},
		{"multipart, with a file", "POST", "/form", "Content-Type: multipart/form-data; boundary=b",
			multiparts("form-data; name=title\r\n\r\nt", "form-data; name=avatar; filename=a.png\r\n\r\npng"), 200, "t[]a.png=png"},
		{"a required field is missing", "POST", "/form", "Content-Type: application/x-www-form-urlencoded", "n=1", 400, "form: title is missing"},
		{"a field of a form is no number", "POST", "/form", "Content-Type: application/x-www-form-urlencoded", "title=a&n=1&n=z", 400, `form: n must be an integer of 64 bits, not "z"`},
		{"JSON where a form may be, too", "POST", "/form", "Content-Type: application/json", `{"note":"n"}`, 400, "form: title is missing"},
		{"neither", "POST", "/form", "Content-Type: text/plain", "x", 415, "must be JSON or a form"},
		{"valid", "GET", "/checked?age=20", "", "", 200, `{"Age":20}`},
		{"its own validator", "GET", "/checked?age=-1", "", "", 422, "query: age must not be negative"},
		{"a validator with a status of its own", "GET", "/checked?age=201", "", "", 409, "too old"},
		{"the validator of the App", "GET", "/checked?age=13", "", "", 422, "age is 13"},
		{"not a pointer", "GET", "/wrong/value", "", "", 500, ""},
		{"no tags: nothing would be set", "GET", "/wrong/none", "", "", 500, ""},
		{"a type that no text has", "GET", "/wrong/type", "", "", 500, ""},
		{"two tags", "GET", "/wrong/two?a=1", "", "", 500, ""},
		{"a field that cannot be set", "GET", "/wrong/hidden?a=1", "", "", 500, ""},
	} {
		r := httptest.NewRequest(c.method, c.target, strings.NewReader(c.body))
		r.Header.Set("Accept", "text/plain")
		for line := range strings.SplitSeq(c.headers, "|") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				r.Header.Add(name, value)
			}
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		require.Equal(t, c.status, w.Code, "%s: %s", c.why, w.Body)
		require.Contains(t, w.Body.String(), c.want, c.why)
	}
}

// A client that takes JSON gets the faults of fields one by one.
func TestFieldErrorsInJSON(t *testing.T) {
	a := bindServer()
	defer a.Close()
	for _, c := range []struct {
		why, method, target, body string
		want                      FieldErrors
	}{
		{"texts", "GET", "/all/x?page=y", "", FieldErrors{
			{"query", "page", `must be an integer of 64 bits, not "y"`}, {"path", "id", `must be an integer of 64 bits, not "x"`}}},
		{"a member", "POST", "/all/7", `{"title":1}`, FieldErrors{{"json", "title", "must be a string, not a number"}}},
		{"a member that is unknown", "POST", "/all/7", `{"titel":1}`, FieldErrors{{"json", "titel", "is unknown"}}},
		{"a validator", "GET", "/checked?age=-1", "", FieldErrors{{"query", "age", "must not be negative"}}},
		{"an error without fields", "GET", "/checked?age=13", "", nil},
	} {
		r := httptest.NewRequest(c.method, c.target, strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/json")
		if c.body == "" {
			r.Header.Set("Accept", "application/json")
			r.Header.Del("Content-Type")
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		var answer struct{ Fields FieldErrors }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer), c.why)
		require.Equal(t, c.want, answer.Fields, c.why)
	}
}
