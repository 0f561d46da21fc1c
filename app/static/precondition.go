// Conditional requests (RFC 9110 section 13).

package static

import (
	"net/http"
	"strings"
	"time"

	"tafe/app"
	"tafe/httpparse"
)

// conditions holds the fields that select the response to a GET. A list in several lines is joined.
type conditions struct {
	match, noneMatch, modifiedSince, unmodifiedSince, ifRange, ranges string
	acceptEncoding                                                    string
	encodings                                                         bool // Accept-Encoding is present
}

func conditionsOf(c *app.Context) (k conditions) {
	for name, value := range c.HeadersView() {
		switch len(name) {
		case len("If-Match"):
			appendList(&k.match, name, "If-Match", value)
			setOnce(&k.ifRange, name, "If-Range", value)
		case len("If-None-Match"):
			appendList(&k.noneMatch, name, "If-None-Match", value)
		case len("If-Modified-Since"):
			setOnce(&k.modifiedSince, name, "If-Modified-Since", value)
		case len("If-Unmodified-Since"):
			setOnce(&k.unmodifiedSince, name, "If-Unmodified-Since", value)
		case len("Range"):
			setOnce(&k.ranges, name, "Range", value)
		case len("Accept-Encoding"):
			if strings.EqualFold(name, "Accept-Encoding") {
				appendList(&k.acceptEncoding, name, "Accept-Encoding", value)
				k.encodings = true
			}
		}
	}
	return k
}

func appendList(list *string, name, want, value string) {
	if strings.EqualFold(name, want) {
		*list = httpparse.JoinLists(*list, value)
	}
}

// setOnce sets *field, or makes it invalid if the field occurs twice.
func setOnce(field *string, name, want, value string) {
	switch {
	case !strings.EqualFold(name, want):
	case *field == "":
		*field = value
	default:
		*field = "?"
	}
}

// conditionStatus is the result of evaluating the preconditions: a status.
type conditionStatus int

const (
	proceed     conditionStatus = 200
	notModified conditionStatus = 304
	failed      conditionStatus = 412
)

// validatorDate returns a modification time as a validator. It returns the zero time for a time on the first day of
// 1970, which some tools set, and for a time in the future.
func validatorDate(modified, now time.Time) time.Time {
	const day = 24 * 60 * 60
	if modified.Unix() < day || modified.After(now) {
		return time.Time{}
	}
	return modified
}

// check evaluates the preconditions in the order of RFC 9110 section 13.2.2. Invalid dates are ignored, and all dates
// are if modified is zero.
func (k *conditions) check(etag string, modified time.Time) conditionStatus {
	dated := !modified.IsZero()
	modified = modified.Truncate(time.Second)
	switch {
	case k.match != "":
		if !matches(k.match, etag, false) {
			return failed
		}
	case k.unmodifiedSince != "" && dated: // checked first, because an error of ParseTime allocates
		if t, err := http.ParseTime(k.unmodifiedSince); err == nil && modified.After(t) {
			return failed
		}
	}
	if k.noneMatch != "" {
		if matches(k.noneMatch, etag, true) {
			return notModified
		}
		return proceed
	}
	if k.modifiedSince == "" || !dated {
		return proceed
	}
	if t, err := http.ParseTime(k.modifiedSince); err == nil && !modified.After(t) {
		return notModified
	}
	return proceed
}

// rangeHolds reports whether If-Range permits a partial response (RFC 9110 section 13.1.5): it holds the same strong
// entity tag, or the exact date of a file not modified within the last second, so that the date is a strong validator
// (section 8.8.2.2).
func (k *conditions) rangeHolds(etag string, modified, now time.Time) bool {
	switch {
	case k.ifRange == "":
		return true
	case k.ifRange[0] == '"' || strings.HasPrefix(k.ifRange, "W/"):
		return k.ifRange == etag
	}
	t, err := http.ParseTime(k.ifRange)
	return err == nil && !modified.IsZero() && t.Equal(modified.Truncate(time.Second)) && now.Sub(modified) >= time.Second
}

// matches reports whether list, from If-Match or If-None-Match, contains etag, a strong tag. weak selects weak
// comparison (RFC 9110 section 8.8.3.2). Parsing stops at the first invalid tag.
func matches(list, etag string, weak bool) bool {
	for {
		list = strings.TrimLeft(list, " \t,")
		if list == "" {
			return false
		}
		if list[0] == '*' {
			return strings.Trim(list[1:], " \t") == ""
		}
		tag, isWeak := strings.CutPrefix(list, "W/")
		if tag == "" || tag[0] != '"' {
			return false
		}
		end := strings.IndexByte(tag[1:], '"') + 2
		if end < 2 {
			return false
		}
		if tag[:end] == etag && (weak || !isWeak) {
			return true
		}
		list = tag[end:]
	}
}
