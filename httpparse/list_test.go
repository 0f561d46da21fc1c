package httpparse

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLists(t *testing.T) {
	for _, c := range []struct {
		lines   []string
		list    string
		members []string
		why     string
	}{
		{nil, "", nil, "no line"},
		{[]string{"a, b"}, "a, b", []string{"a", "b"}, "one line"},
		{[]string{"a", "b,c"}, "a, b,c", []string{"a", "b", "c"}, "two lines are one list"},
		{[]string{"", "a"}, "a", []string{"a"}, "an empty line adds nothing"},
		{[]string{" ,, a ,\t,"}, " ,, a ,\t,", []string{"a"}, "nor do empty members"},
		{[]string{`"x, y", z`}, `"x, y", z`, []string{`"x, y"`, "z"}, "a quoted comma separates nothing"},
		{[]string{`"x\", y", z`}, `"x\", y", z`, []string{`"x\", y"`, "z"}, "nor does one behind an escaped quote"},
		{[]string{`"x, y`}, `"x, y`, []string{`"x, y`}, "a quote that is left open"},
	} {
		headers := []Header{{Name: []byte("Other"), Value: []byte("no")}}
		for _, line := range c.lines {
			headers = append(headers, Header{Name: []byte("LIST"), Value: []byte(line)})
		}
		list := ListOf(headers, "List")
		require.Equal(t, c.list, list, c.why)
		require.Equal(t, c.members, slices.Collect(Members(list)), c.why)
	}
	require.True(t, HasMember("a, No-Transform", "no-transform"))
	require.False(t, HasMember(`x="a, no-transform"`, "no-transform"), "part of a quoted string")
}
