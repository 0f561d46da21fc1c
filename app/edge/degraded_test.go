package edge

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/loop"
)

func TestDegradedRuntimeIsLogged(t *testing.T) {
	for _, c := range []struct {
		parts []string
		want  []string
		why   string
	}{
		{nil, nil, "nothing to say"},
		{[]string{"thread_lock"}, []string{"degraded=thread_lock", "ends the process"}, "a handler may end the process"},
		{[]string{"thread"}, []string{"degraded=thread", "thread clocks"}, "verdicts"},
		{[]string{"state"}, []string{"degraded=state", "only in stacks"}, "verdicts"},
		{loop.Runtime().Parts(), []string{"degraded=thread_lock,thread,state", "process; ", "get CPU; "}, "one line for all"},
	} {
		var out bytes.Buffer
		warnDegraded(slog.New(slog.NewTextHandler(&out, nil)), c.parts)
		for _, want := range append(c.want, "level=WARN") {
			require.Equal(t, c.want != nil, strings.Contains(out.String(), want), "%s: %s", c.why, out.String())
		}
		require.Equal(t, min(len(c.want), 1), strings.Count(out.String(), "\n"), c.why)
	}
}
