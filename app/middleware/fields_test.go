package middleware

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/app"
)

// A request that is refused before its handler runs is refused within the middlewares, so that a page can read why.
func TestARefusedRequestPassesTheMiddlewares(t *testing.T) {
	a := app.New(app.Options{Log: quiet})
	a.Use(Secure(SecureOptions{}), CORS(CORSOptions{Origins: []string{"https://a.example"}}))
	a.Handle("POST", "/small", func(*app.Context) error { panic("the body must not come here") }, app.BodyMax(10))
	a.Handle("POST", "/large", func(c *app.Context) error { return c.NoContent(204) }, app.BodyMax(1000))
	guarded := a.Group("", BasicAuth("x", map[string]string{"a": "b"}))
	guarded.Handle("POST", "/guarded", func(*app.Context) error { panic("not reached") }, app.BodyMax(10))
	addr := serve(t, a)
	for _, c := range []struct {
		request string
		status  int
		why     string
	}{
		{"POST /small\nContent-Length: 11", 413, "more than the route takes"},
		{"POST /small\nContent-Length: 11\nExpect: 100-continue", 413, "the client need not send it"},
		{"POST /small\nContent-Length: 99999999999", 413, "more than any route takes"},
		{"POST /nowhere\nContent-Length: 99999999999", 413, "no route"},
		{"PUT /small\nContent-Length: 99999999999", 413, "no method"},
		{"POST /guarded\nContent-Length: 11", 401, "a guard comes first"},
		{"GET /%zz\nContent-Length: 0", 400, "a path with an invalid escape"},
		{"GET /..%2Fsecret\nContent-Length: 0", 400, "a path with a hidden dot segment"},
		{"GET /../secret\nContent-Length: 0", 400, "a path above the root"},
		{"CONNECT a:80\nContent-Length: 0", 501, "a method that is not implemented"},
		{"POST /large\nContent-Length: 11\n\nhello world", 204, "not too much"},
	} {
		resp, _ := ask(t, addr, strings.Replace(c.request, "\nContent", "\nOrigin: https://a.example\nContent", 1))
		require.Equal(t, c.status, resp.StatusCode, c.why)
		require.Equal(t, []string{"https://a.example"}, resp.Header.Values("Access-Control-Allow-Origin"), c.why)
		require.Equal(t, []string{"DENY"}, resp.Header.Values("X-Frame-Options"), c.why)
		require.Equal(t, c.status != 204, resp.Close, "%s: where the next request begins is not known", c.why)
	}
}
