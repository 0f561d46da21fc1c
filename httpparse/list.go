// Fields whose value is a comma-separated list (RFC 9110 section 5.6.1). All lines of such a field form one list.

package httpparse

import (
	"iter"
	"strings"
)

// ListOf returns the value of a list field, joined over all of its lines, or "". The name is case-insensitive. With a
// single line the result is a view into headers.
func ListOf(headers []Header, name string) (list string) {
	for i := range headers {
		if v := headers[i].Value; sameName(headers[i].Name, name) {
			list = JoinLists(list, ViewString(v))
		}
	}
	return list
}

// JoinLists joins two lists with a comma. Either may be empty.
func JoinLists(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	return a + ", " + b
}

// Members yields the members of a list without surrounding whitespace. Empty members are skipped (RFC 9110 section
// 5.6.1.2). A comma inside a quoted string does not separate members.
func Members(list string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for list != "" {
			end := memberEnd(list)
			member := strings.Trim(list[:end], " \t")
			list = list[min(end+1, len(list)):]
			if member != "" && !yield(member) {
				return
			}
		}
	}
}

// memberEnd returns the offset of the first comma outside a quoted string, or len(list).
func memberEnd(list string) int {
	quoted := false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == ',' && !quoted:
			return i
		}
	}
	return len(list)
}

// HasMember reports whether list has this member, case-insensitively.
func HasMember(list, member string) bool {
	for m := range Members(list) {
		if strings.EqualFold(m, member) {
			return true
		}
	}
	return false
}
