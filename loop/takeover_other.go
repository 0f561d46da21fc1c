//go:build !linux

package loop

import (
	"errors"
	"net"
)

func (e *Engine) takeOver() error { return nil }

func (e *Engine) handOver() error { return nil }

func claimShared(string) (net.Addr, error) {
	return nil, errors.New("loop: addresses are shared on Linux only")
}
