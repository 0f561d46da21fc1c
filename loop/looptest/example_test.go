package looptest_test

import (
	"fmt"
	"testing"
	"time"

	"tafe/loop"
	"tafe/loop/looptest"
)

// In a test function t is its *testing.T.
func Example() {
	var t testing.T
	l := looptest.New(&t, looptest.Options{})
	defer l.Close() // the end of a test does this
	r := l.Start(func(t *loop.Task) {
		fmt.Println("before")
		_ = t.Sleep(time.Hour)
		fmt.Println("later")
	})
	fmt.Println("ended:", r.Ended())
	l.Advance(2 * time.Hour)
	fmt.Println("ended:", r.Ended())
	// Output:
	// before
	// ended: false
	// later
	// ended: true
}
