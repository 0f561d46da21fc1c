// Tests that every series and label used in docs/deploy is exported by a server.

package admin

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert/yaml"
	"github.com/stretchr/testify/require"
)

// exported are the series of /metrics with their labels, on a server that has had something of everything.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	r := newRig(t, func() []Upstream { return []Upstream{{Name: "bidders", Addr: "127.0.0.1:1", Up: true, State: "up"}} })
	require.Equal(t, 200, r.request("/plaintext"))
	conn, err := net.Dial("tcp", r.server.Addr().String())
	require.NoError(t, err)
	_, err = io.WriteString(conn, "no request at all\r\n\r\n")
	require.NoError(t, err)
	_, err = io.ReadAll(conn)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	answered := r.hold("on")
	r.release()
	answered()
	r.await("the overrun is closed", func() bool { return r.overruns()[0].Final })
	status, _, text := r.get("/metrics")
	require.Equal(t, 200, status)
	return seriesOf(text)
}

var (
	sampleLine = regexp.MustCompile(`(?m)^([a-z_0-9]+)(?:\{([^}]*(?:"[^"]*"[^}]*)*)\})? `)
	labelName  = regexp.MustCompile(`([a-z_]+)="(?:[^"\\]|\\.)*"`)
)

func seriesOf(text string) map[string][]string {
	series := map[string][]string{"up": nil}
	for _, line := range strings.Split(text, "\n") {
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		labels := []string{"instance", "job"} // added by Prometheus
		for _, l := range labelName.FindAllStringSubmatch(m[2], -1) {
			labels = append(labels, l[1])
		}
		series[m[1]] = labels
	}
	return series
}

var (
	seriesName = regexp.MustCompile(`\b((?:tafe|go|process)_[a-z0-9_]+|up)\b(?:\{([^}]*)\})?`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"`)
	grouping   = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
	legend     = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}`)
)

// ask checks one expression, and the texts that name labels of its result.
func ask(t *testing.T, series map[string][]string, where, expr string, texts ...string) {
	t.Helper()
	found := seriesName.FindAllStringSubmatch(expr, -1)
	require.NotEmpty(t, found, "%s asks for nothing: %s", where, expr)
	for _, m := range found {
		labels, ok := series[m[1]]
		require.True(t, ok || m[1] == "up", "%s uses %s, which is not exported", where, m[1])
		if m[1] == "up" {
			labels = []string{"instance", "job"}
		}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			require.Contains(t, labels, l[1], "%s: a label that %s does not have", where, m[1])
		}
		for _, group := range grouping.FindAllStringSubmatch(expr, -1) {
			if strings.HasPrefix(group[0], "on") || len(found) > 1 {
				continue // the operands differ; each is checked where it stands alone
			}
			for _, l := range strings.Split(group[1], ",") {
				require.Contains(t, labels, strings.TrimSpace(l), "%s groups %s by a label that it does not have", where, m[1])
			}
		}
	}
	kept := series[found[0][1]]
	if found[0][1] == "up" {
		kept = []string{"instance", "job"}
	}
	if groups := grouping.FindAllStringSubmatch(expr, -1); len(groups) > 0 && strings.HasPrefix(groups[0][0], "by") {
		kept = strings.FieldsFunc(groups[0][1], func(r rune) bool { return r == ',' || r == ' ' })
	} else if strings.Contains(expr, "sum(") || strings.Contains(expr, "max(") {
		kept = nil
	}
	for _, text := range texts {
		for _, l := range legend.FindAllStringSubmatch(text, -1) {
			if l[1] != "value" {
				require.Contains(t, kept, l[1], "%s: %q names a label that the result does not have", where, text)
			}
		}
	}
}

func TestDeployFilesAskForWhatIsExported(t *testing.T) {
	series := exported(t)

	content, err := os.ReadFile("../../docs/deploy/alerts.yml")
	require.NoError(t, err)
	var alerts struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(content, &alerts))
	require.Len(t, alerts.Groups, 1)
	names := map[string]bool{}
	for _, rule := range alerts.Groups[0].Rules {
		require.False(t, names[rule.Alert], "%s is there twice", rule.Alert)
		names[rule.Alert] = true
		require.Contains(t, []string{"page", "ticket"}, rule.Labels["severity"], rule.Alert)
		require.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
		ask(t, series, rule.Alert, rule.Expr, rule.Annotations["summary"], rule.Annotations["description"])
	}
	require.Greater(t, len(names), 5)

	content, err = os.ReadFile("../../docs/deploy/grafana.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	require.NoError(t, json.Unmarshal(content, &dashboard))
	var ids []int
	for _, p := range dashboard.Panels {
		ids = append(ids, p.ID)
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, "%s is beyond the grid", p.Title)
		for _, target := range p.Targets {
			ask(t, series, p.Title, target.Expr, target.LegendFormat)
		}
	}
	require.Greater(t, len(ids), 10)
	slices.Sort(ids)
	require.Len(t, slices.Compact(ids), len(dashboard.Panels), "ids are unique")
}

func TestSeriesHaveFewLabels(t *testing.T) {
	allowed := []string{"instance", "job", "le", "quantile", "version", "loop", "route", "method", "status", "reason", "verdict", "upstream", "addr", "part", "log", "name", "source", "protocol", "direction"}
	for name, labels := range exported(t) {
		for _, l := range labels {
			require.Contains(t, allowed, l, "%s: is %s bounded?", name, l)
		}
	}
}
