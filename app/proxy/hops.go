// This file owns what a proxy adds because it is one hop of several: Via, Max-Forwards, and which protocols may be asked for
// behind it (RFC 9110 sections 7.6 and 7.8).

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

// viaOf is the Via member for a message that came as HTTP/1.0, and as HTTP/1.1; "" if name is "-".
func viaMembers(name string) (member [2]string, err error) {
	switch {
	case name == "-":
		return member, nil
	case name == "":
		name = defaultVia
	case !httpparse.ValidToken(strings.NewReplacer(":", "", "[", "", "]", "").Replace(name)):
		return member, fmt.Errorf("proxy: %q is neither a pseudonym nor a host for Via", name)
	}
	return [2]string{"1.0 " + name, "1.1 " + name}, nil
}

// hopsLeft handles Max-Forwards, which limits TRACE and OPTIONS (RFC 9110 section 7.6.2). value is what the next hop is sent,
// "" for a request without the field; last tells that there is no next hop.
func hopsLeft(c *app.Context) (value string, last bool, err error) {
	if method := c.Method(); method != http.MethodTrace && method != http.MethodOptions {
		return c.Header(maxForwards), false, nil
	}
	value = c.Header(maxForwards)
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

// answerLast answers a TRACE or OPTIONS request whose last hop is this one.
func answerFinalHop(c *app.Context) error {
	if c.Method() == http.MethodOptions {
		return c.NoContent(http.StatusNoContent)
	}
	b, err := httpparse.AppendRequestLine(nil, c.Method(), c.RawTarget())
	if err != nil {
		return err
	}
	for name, value := range c.Headers() {
		switch http.CanonicalHeaderKey(name) {
		case "Authorization", "Cookie", "Proxy-Authorization": // section 9.3.8
			continue
		}
		if b, err = httpparse.AppendHeader(b, name, value); err != nil {
			return err
		}
	}
	return c.Bytes(http.StatusOK, "message/http", httpparse.AppendHeadEnd(b))
}

// upgradeFor lists the protocols that the next hop is asked for: all that the client asks for, but for h2c, whose HTTP2-Settings
// are for this hop alone (RFC 7540 section 3.2.1; RFC 9113 has abolished it).
func forwardedUpgrade(c *app.Context) string {
	if c.Upgrade() == "" {
		return ""
	}
	kept := ""
	for protocol := range httpparse.Members(c.HeaderList("Upgrade")) {
		if !strings.EqualFold(protocol, "h2c") {
			kept = httpparse.JoinLists(kept, protocol)
		}
	}
	return kept
}
