//go:build !linux || !(amd64 || arm64)

// This file makes a build for another platform fail with a message that names the
// supported ones. All servers import this package through loop.

package goruntime

var _ = tafe_requires_linux_on_amd64_or_arm64
