package httpparse

// This file reads header fields that are lists (RFC 9110 section 5.6.1): the lines of a field form one list, in order, whose members
// are separated by commas. The meaning of a member is the caller's concern.

import (
	"iter"
	"strings"
	"unsafe"
)

// ListOf is the value of a field over all of its lines, in any case of the name; "" if there is none. It is a view where there is
// one line.
func ListOf(headers []Header, name string) (list string) {
	for i := range headers {
		if v := headers[i].Value; sameName(headers[i].Name, name) {
			list = JoinLists(list, unsafe.String(unsafe.SliceData(v), len(v)))
		}
	}
	return list
}

// JoinLists makes one list of two.
func JoinLists(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	return a + ", " + b
}

// Members yields the members of a list, without whitespace around them; empty ones are left out. A comma in a quoted string is
// part of its member.
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

// memberEnd is the offset of the first comma that is in no quoted string, or the length of list.
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

// HasMember tells whether a list has a member, in any case of its letters.
func HasMember(list, member string) bool {
	for m := range Members(list) {
		if strings.EqualFold(m, member) {
			return true
		}
	}
	return false
}
