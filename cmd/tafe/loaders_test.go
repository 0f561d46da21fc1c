package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/loop/testrig"
)

// loader is a load generator of another project, with the counts of statuses by first digit if it prints them.
type loader struct {
	name string
	args func(url string, headers ...string) []string
	// counts reads good and refused requests from what it prints.
	good, all *regexp.Regexp
}

var loaders = []loader{
	{"wrk", func(url string, headers ...string) []string {
		return append([]string{"-t1", "-c16", "-d1s"}, append(eachBehind("-H", headers), url)...)
	}, nil, regexp.MustCompile(`(\d+) requests in`)},
	{"h2load", func(url string, headers ...string) []string {
		return append([]string{"--h1", "-t1", "-c16", "-n2000"}, append(eachBehind("-H", headers), url)...)
	}, regexp.MustCompile(`status codes: (\d+) 2xx`), regexp.MustCompile(`requests: (\d+) total`)},
}

func eachBehind(flag string, values []string) (args []string) {
	for _, v := range values {
		args = append(args, flag, v)
	}
	return args
}

func counted(t *testing.T, in string, what *regexp.Regexp) int {
	t.Helper()
	m := what.FindStringSubmatch(in)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	return n
}

// Two load generators run into every limit with a status: each request is answered, those beyond the limit with its status, and
// the server serves afterwards.
func TestLoadersRunIntoLimits(t *testing.T) {
	t.Parallel()
	e, _ := startConfigured(t, `
[limits]
head_bytes_max = "2KiB"
target_bytes_max = "256B"
header_count_max = 20
[[route]]
path = "/open"
respond = { body = "ok" }
[[route]]
path = "/rate"
rate_limit = { rate = 1, burst = 10 }
respond = { body = "ok" }
[[route]]
path = "/nobody"
allow_ip = ["192.0.2.1"]
respond = { body = "ok" }
[[route]]
path = "/denied"
deny_ip = ["127.0.0.0/8"]
respond = { body = "ok" }
[[route]]
path = "/users"
basic_auth = { users = { a = "b" } }
respond = { body = "ok" }
`)
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprintf("X-%d: b", i))
	}
	nonGood := regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
	for _, l := range loaders {
		path := testrig.Program(t, l.name)
		for _, c := range []struct {
			target  string
			headers []string
			good    [2]int // at least, at most; -1: all
			refusal string // the reason that the metrics count
		}{
			{"/open", nil, [2]int{-1, -1}, ""},
			{"/rate", nil, [2]int{1, 30}, ""}, // the burst, and what some seconds gain
			{"/nobody", nil, [2]int{0, 0}, ""},
			{"/denied", nil, [2]int{0, 0}, ""},
			{"/users", nil, [2]int{0, 0}, ""},
			{"/open?" + strings.Repeat("x", 300), nil, [2]int{0, 0}, "target-too-long"},
			{"/open", []string{"X-A: " + strings.Repeat("x", 3000)}, [2]int{0, 0}, "head-too-large"},
			{"/open", many, [2]int{0, 0}, "too-many-headers"},
		} {
			what := l.name + " " + c.target[:min(len(c.target), 20)] + " " + c.refusal
			out, err := exec.Command(path, l.args("http://"+e.addr+c.target, c.headers...)...).CombinedOutput()
			require.NoError(t, err, "%s\n%s", what, out)
			text := string(out)
			all := counted(t, text, l.all)
			require.Positive(t, all, "%s\n%s", what, text)
			good := 0
			if l.good != nil {
				good = counted(t, text, l.good)
			} else {
				good = all - counted(t, text, nonGood)
			}
			if c.good[0] < 0 {
				require.Equal(t, all, good, "%s\n%s", what, text)
				require.NotContains(t, text, "Socket errors", what)
			} else {
				require.GreaterOrEqual(t, good, c.good[0], "%s\n%s", what, text)
				require.LessOrEqual(t, good, c.good[1], "%s\n%s", what, text)
			}
			status, body := get(t, e.addr, "/open")
			require.Equal(t, 200, status, what)
			require.Equal(t, "ok", body, what)
			if c.refusal != "" {
				_, metrics := get(t, e.admin, "/metrics")
				require.Regexp(t, `tafe_refusals_total\{reason="`+c.refusal+`"\} [1-9]`, metrics, what)
			}
		}
	}
}
