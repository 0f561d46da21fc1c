package middleware

import (
	"testing"

	"go.uber.org/goleak"
)

// gnet starts a pool of workers when it is linked in, and keeps it; it also keeps engines that have ended, with their Apps, and
// so the goroutines of Offload, which wait for more as long as their App lives.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("tafe/loop.(*Pool).next"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"))
}
