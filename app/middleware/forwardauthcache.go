// The answers that ForwardAuth remembers. Subrequests are kept as digests, so that no credentials stay in memory.

package middleware

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"tafe/app/client"
)

// cacheKey is the digest of a subrequest.
type cacheKey [sha256.Size]byte

// answerCache holds the copied headers of 2xx answers. Any goroutine may use it.
type answerCache struct {
	base    time.Time
	valid   time.Duration
	answers *lru.Cache[cacheKey, cachedAnswer]
}

type cachedAnswer struct {
	copied []headerCopy
	until  time.Duration // since base
}

func newAnswerCache(valid time.Duration, most int) *answerCache {
	if most <= 0 {
		most = 10_000
	}
	answers, err := lru.New[cacheKey, cachedAnswer](most)
	if err != nil {
		panic("middleware: ForwardAuth: " + err.Error()) // most is positive
	}
	return &answerCache{time.Now(), valid, answers}
}

func (a *answerCache) get(key cacheKey) (copied []headerCopy, ok bool) {
	answer, ok := a.answers.Get(key)
	return answer.copied, ok && time.Since(a.base) < answer.until
}

func (a *answerCache) put(key cacheKey, copied []headerCopy) {
	a.answers.Add(key, cachedAnswer{copied, time.Since(a.base) + a.valid})
}

// keyOf digests the headers of a subrequest. Lengths separate them, so that different headers have different digests.
func keyOf(req *client.Request) (key cacheKey) {
	h := sha256.New()
	var length [8]byte
	for _, field := range req.Headers {
		for _, part := range [][]byte{field.Name, field.Value} {
			binary.BigEndian.PutUint64(length[:], uint64(len(part)))
			_, _ = h.Write(length[:])
			_, _ = h.Write(part)
		}
	}
	h.Sum(key[:0])
	return key
}
