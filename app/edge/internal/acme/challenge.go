// The challenge HTTP-01 (RFC 8555, section 8.3).

package acme

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/certmagic"

	"tafe/app"
	"tafe/loop"
)

// AnswerChallenge answers a request of an authority. It returns false for any other request, which it leaves alone. A challenge that
// this process has begun is answered from memory; for others the storage is read beside the loop.
func (m *Manager) AnswerChallenge(c *app.Context, host string) (answered bool, err error) {
	if !m.options.HTTP01 || c.Method() != http.MethodGet {
		return false, nil
	}
	host, path := strings.ToLower(strings.Clone(host)), c.RawPath()
	if challenge, ok := certmagic.GetACMEChallenge(host); ok {
		if challenge.HTTP01ResourcePath() != path {
			return false, nil
		}
		m.counts.challenges.Add(1)
		return true, c.String(http.StatusOK, challenge.KeyAuthorization)
	}
	if m.demand == nil && !m.manages(host) {
		return false, nil
	}
	text, err := loop.Offload(c.Task(), m.reads, func() (string, error) { return m.storedChallenge(host, path), nil })
	if err == loop.ErrOffloadFull || text == "" && err == nil {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	m.counts.challenges.Add(1)
	return true, c.String(http.StatusOK, text)
}

// storedChallenge returns the answer to a challenge that another process has begun; "" if there is none.
func (m *Manager) storedChallenge(host, path string) string {
	ctx, cancel := context.WithTimeout(m.ctx, loadMax)
	defer cancel()
	r := (&http.Request{Method: http.MethodGet, Host: host, URL: &url.URL{Path: path}, Header: http.Header{}, RequestURI: path}).WithContext(ctx)
	var w answerBuffer
	if !m.issuers[0].HandleHTTPChallenge(&w, r) {
		return ""
	}
	return w.String()
}

// answerBuffer is a http.ResponseWriter that keeps the body.
type answerBuffer struct {
	bytes.Buffer
	header http.Header
}

// Header implements http.ResponseWriter.
func (b *answerBuffer) Header() http.Header {
	if b.header == nil {
		b.header = http.Header{}
	}
	return b.header
}

// WriteHeader implements http.ResponseWriter.
func (b *answerBuffer) WriteHeader(int) {}
