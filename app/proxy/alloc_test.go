//go:build !race

package proxy

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/loop/looptest"
)

// A forwarded request allocates nothing, neither for the client nor for the upstream.
func TestPassingOnAllocatesNothing(t *testing.T) {
	if looptest.HandsOffAlways() {
		t.Skip("a handoff allocates")
	}
	f := serve(t, GroupOptions{Servers: to(sink(t))}, Options{})
	c, err := net.Dial("tcp", f.Addr().String())
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	request, answer := []byte(benchRequest), make([]byte, 8<<10)
	once := func() {
		_, err := c.Write(request)
		for n := 0; n < 1024 && err == nil; {
			var m int
			m, err = c.Read(answer)
			n += m
		}
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
	}
	for range 100 {
		once()
	}
	require.Less(t, testing.AllocsPerRun(2000, once), 0.5)
}
