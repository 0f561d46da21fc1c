package loop

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if latenessPart() {
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
