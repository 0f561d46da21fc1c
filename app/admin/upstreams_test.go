package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// operated is a dashboard that records operations.
func operated(token string) (http.Handler, *[]string) {
	var done []string
	d := &dashboard{config: Config{
		Token: token,
		Upstreams: func() []Upstream {
			return []Upstream{{Name: "app", Addr: "127.0.0.1:1", Source: "api:1", State: "up", Up: true, Weight: 3}}
		},
		UpstreamGroups: func() []UpstreamGroup { return []UpstreamGroup{{Name: "app", Waiting: 2}} },
		Operate: func(upstream, addr string, o Operation) error {
			if upstream != "app" {
				return ErrNoUpstream
			}
			if o.Weight > 256 {
				return errors.New("too heavy")
			}
			done = append(done, fmt.Sprint(addr, " ", o.Kind, " ", o.Weight))
			return nil
		},
	}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /upstreams", d.upstreams)
	mux.HandleFunc("POST /upstreams/{name}/{kind}", d.operate)
	return mux, &done
}

func TestOperateUpstreams(t *testing.T) {
	const drain = "/upstreams/app/drain?addr=127.0.0.1:1"
	for _, c := range []struct {
		why, token, target, remote, host string
		header                           [2]string
		status                           int
		want                             string // the operation, or part of the answer
	}{
		{"from this host", "", drain, "127.0.0.1:5", "localhost:9180", [2]string{}, 204, "127.0.0.1:1 drain 0"},
		{"from this host, over IPv6", "", drain, "[::1]:5", "[::1]:9180", [2]string{}, 204, "127.0.0.1:1 drain 0"},
		{"undrain", "", "/upstreams/app/undrain?addr=a:1", "127.0.0.1:5", "127.0.0.1:9180", [2]string{}, 204, "a:1 undrain 0"},
		{"weigh", "", "/upstreams/app/weigh?addr=a:1&weight=7", "127.0.0.1:5", "127.0.0.1:9180", [2]string{}, 204, "a:1 weigh 7"},
		{"not a weight", "", "/upstreams/app/weigh?addr=a:1", "127.0.0.1:5", "127.0.0.1:9180", [2]string{}, 400, "weight"},
		{"an invalid operation", "", "/upstreams/app/weigh?addr=a:1&weight=700", "127.0.0.1:5", "127.0.0.1:9180", [2]string{}, 400, "too heavy"},
		{"no such upstream", "", "/upstreams/x/drain?addr=a:1", "127.0.0.1:5", "127.0.0.1:9180", [2]string{}, 404, "no such upstream"},
		{"no such operation", "", "/upstreams/app/stop?addr=a:1", "127.0.0.1:5", "127.0.0.1:9180", [2]string{}, 404, "drain, undrain and weigh"},
		{"from another host", "", drain, "192.0.2.1:5", "127.0.0.1:9180", [2]string{}, 403, "only clients on this host"},
		{"a page of another site, by its Origin", "", drain, "127.0.0.1:5", "127.0.0.1:9180", [2]string{"Origin", "https://evil.example"}, 403, "other sites"},
		{"a page of another site, by Sec-Fetch-Site", "", drain, "127.0.0.1:5", "127.0.0.1:9180", [2]string{"Sec-Fetch-Site", "cross-site"}, 403, "other sites"},
		{"a name that was rebound to this host", "", drain, "127.0.0.1:5", "evil.example:9180", [2]string{"Origin", "http://evil.example:9180"}, 403, "only clients on this host"},
		{"with the token, from anywhere", "s3cret", drain, "192.0.2.1:5", "edge.internal", [2]string{"Authorization", "Bearer s3cret"}, 204, "127.0.0.1:1 drain 0"},
		{"another token", "s3cret", drain, "192.0.2.1:5", "edge.internal", [2]string{"Authorization", "Bearer s3cre"}, 401, "token"},
		{"without the token, also from this host", "s3cret", drain, "127.0.0.1:5", "127.0.0.1:9180", [2]string{}, 401, "token"},
		{"the token in another scheme", "s3cret", drain, "192.0.2.1:5", "edge.internal", [2]string{"Authorization", "Basic s3cret"}, 401, "token"},
	} {
		t.Run(c.why, func(t *testing.T) {
			h, done := operated(c.token)
			r := httptest.NewRequest("POST", c.target, nil)
			r.RemoteAddr, r.Host = c.remote, c.host
			if c.header[0] != "" {
				r.Header.Set(c.header[0], c.header[1])
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			require.Equal(t, c.status, w.Code, w.Body.String())
			if c.status == 204 {
				require.Equal(t, c.want, strings.Join(*done, ", "))
				return
			}
			require.Empty(t, *done)
			require.Contains(t, w.Body.String(), c.want)
		})
	}
}

func TestListUpstreams(t *testing.T) {
	h, _ := operated("")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/upstreams", nil))
	require.Equal(t, 200, w.Code)
	require.JSONEq(t, `{"groups":[{"name":"app","waiting":2,"waits":0,"queue_full":0,"queue_timeouts":0,"lookups_failed":0,"retries":0,"retries_denied":0,
		"without_server":0,"upgraded_active":0}],"servers":[{"name":"app","addr":"127.0.0.1:1","source":"api:1","up":true,"state":"up","weight":3,"backup":false,
		"active":0,"requests":0,"failures":0}]}`, w.Body.String())
}
