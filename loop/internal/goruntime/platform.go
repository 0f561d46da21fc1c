//go:build !linux || !(amd64 || arm64)

package goruntime

// This file makes a build for another platform fail with a message that says
// what is needed. All of tafe's servers import this package through loop.

var _ = tafe_requires_linux_on_amd64_or_arm64
