package reactor

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDivideFiles(t *testing.T) {
	for _, c := range []struct {
		limit, connMax, dialMax int
		conns, dials            int
		warnings                []string
		why                     string
	}{
		{limit: 1024, conns: 768, dials: 128, why: "defaults: a quarter is reserved, half of it for dials"},
		{limit: 1 << 20, conns: 1<<20 - 8192, dials: 4096, why: "8192 are enough"},
		{limit: 256, conns: 192, dials: 32, why: "64 at least"},
		{limit: 64, conns: 32, dials: 16, why: "but half at most"},
		{limit: 2, conns: 1, dials: 1, why: "never none"},
		{limit: 1024, connMax: 100, conns: 100, dials: 128, why: "what is asked for"},
		{limit: 1024, connMax: 100, dialMax: 700, conns: 100, dials: 700, why: "what connections do not use may be dialed"},
		{limit: 1024, dialMax: 10, conns: 768, dials: 10, why: "fewer dials"},
		{limit: 1024, dialMax: 300, conns: 596, dials: 300, why: "more dials leave fewer connections"},
		{limit: 256, connMax: 10000, conns: 192, dials: 32, warnings: []string{
			"conn_max = 10000 is more than the limit of 256 open files leaves; using 192 (raise it with ulimit -n or LimitNOFILE=)",
		}, why: "a flood must not take all descriptors"},
		{limit: 256, connMax: 10000, dialMax: 1000, conns: 192, dials: 32, warnings: []string{
			"conn_max = 10000 is more than the limit of 256 open files leaves; using 192 (raise it with ulimit -n or LimitNOFILE=)",
			"dial_max = 1000 is more than the limit of 256 open files leaves; using 32 (raise it with ulimit -n or LimitNOFILE=)",
		}, why: "both"},
		{limit: 1024, dialMax: 5000, conns: 448, dials: 448, warnings: []string{
			"dial_max = 5000 is more than the limit of 1024 open files leaves; using 448 (raise it with ulimit -n or LimitNOFILE=)",
		}, why: "dials leave half to connections"},
		{limit: 1024, connMax: -1, dialMax: -1, conns: 768, dials: 128, why: "defaults, too"},
	} {
		conns, dials, warnings := divideFiles(c.limit, c.connMax, c.dialMax)
		require.Equal(t, c.conns, conns, c.why)
		require.Equal(t, c.dials, dials, c.why)
		require.Equal(t, c.warnings, warnings, c.why)
	}
}

func TestFileLimits(t *testing.T) {
	conns, dials, warnings := fileLimits(0, 0)
	require.Positive(t, conns)
	require.Positive(t, dials)
	require.Empty(t, warnings)
}
