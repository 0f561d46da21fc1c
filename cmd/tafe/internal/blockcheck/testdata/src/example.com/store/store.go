// Package store is another package of the user, whose functions handlers call.
package store

import (
	"os"
	"time"
)

type Store struct{ wake chan struct{} }

func (s *Store) Load(id string) string { return s.read(id) }

func (s *Store) read(id string) string {
	data, _ := os.ReadFile(id)
	return string(data)
}

func Pause() { pause(3) }

func pause(n int) {
	if n > 0 {
		time.Sleep(time.Millisecond)
		pause(n - 1)
	}
}

func Quick() string { return "quick" }

// Start blocks only on a goroutine of its own.
func Start() { go pause(1) }

// Retry calls f.
func Retry(f func() error) error { return f() }

// Later keeps f.
func Later(f func() error) { kept = append(kept, f) }

var kept []func() error

// Warm reads a file once, at the start of the process.
//
//tafe:allow-blocking before the first request
func Warm() { _, _ = os.ReadFile("warm") }
