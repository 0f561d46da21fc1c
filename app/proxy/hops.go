// Fields that a proxy adds or changes because it is one of several hops: Via, Max-Forwards and Upgrade (RFC 9110
// sections 7.6 and 7.8).

package proxy

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"tafe/app"
	"tafe/httpparse"
)

const (
	defaultVia  = "tafe"
	maxForwards = "Max-Forwards"
)

// viaMembers returns the Via members for messages received as HTTP/1.0, HTTP/1.1 and HTTP/2. They are "" if name is "-".
func viaMembers(name string) (member [3]string, err error) {
	switch {
	case name == "-":
		return member, nil
	case name == "":
		name = defaultVia
	case !httpparse.ValidToken(strings.NewReplacer(":", "", "[", "", "]", "").Replace(name)):
		return member, fmt.Errorf("proxy: %q is neither a pseudonym nor a host for Via", name)
	}
	return [3]string{"1.0 " + name, "1.1 " + name, "2.0 " + name}, nil
}

// viaOf returns the index of the request's version in Forwarder.via.
func viaOf(c *app.Context) int {
	if c.ProtoMajor() == 2 {
		return 2
	}
	return min(c.ProtoMinor(), 1)
}

// hopsLeft processes Max-Forwards, which limits TRACE and OPTIONS (RFC 9110 section 7.6.2). value is the field for
// the next hop, or "". last reports that this proxy is the final recipient.
func hopsLeft(c *app.Context) (value string, last bool, err error) {
	if method := c.Method(); method != http.MethodTrace && method != http.MethodOptions {
		return c.HeaderView(maxForwards), false, nil
	}
	value = c.HeaderView(maxForwards)
	if value == "" {
		return "", false, nil
	}
	n, err := strconv.ParseUint(value, 10, 31)
	switch {
	case err != nil:
		return "", false, &app.HTTPError{Status: http.StatusBadRequest, Message: "Max-Forwards is not a number", Reason: "max-forwards", Err: err}
	case n == 0:
		return "", true, nil
	}
	return strconv.FormatUint(n-1, 10), false, nil
}

// answerFinalHop answers a TRACE or OPTIONS request of which this proxy is the final recipient (RFC 9110 section
// 7.6.2).
func answerFinalHop(c *app.Context) error {
	if c.Method() == http.MethodOptions {
		return c.NoContent(http.StatusNoContent)
	}
	b, err := httpparse.AppendRequestLine(nil, c.Method(), c.RawTargetView())
	if err != nil {
		return err
	}
	for name, value := range c.HeadersView() {
		switch http.CanonicalHeaderKey(name) {
		case "Authorization", "Cookie", "Proxy-Authorization": // sensitive data is excluded (RFC 9110 section 9.3.8)
			continue
		}
		if b, err = httpparse.AppendHeader(b, name, value); err != nil {
			return err
		}
	}
	return c.Bytes(http.StatusOK, "message/http", httpparse.AppendHeadEnd(b))
}

// forwardedUpgrade returns the protocols to request from the upstream: those that the client requests except h2c,
// whose HTTP2-Settings apply to a single connection (RFC 7540 section 3.2.1; obsoleted by RFC 9113).
func forwardedUpgrade(c *app.Context) string {
	if c.Upgrade() == "" {
		return ""
	}
	kept := ""
	for protocol := range httpparse.Members(c.HeaderListView("Upgrade")) {
		if !strings.EqualFold(protocol, "h2c") {
			kept = httpparse.JoinLists(kept, protocol)
		}
	}
	return kept
}
