package app

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type order struct {
	Item  string   `json:"item"`
	Count uint8    `json:"count"`
	Price float64  `json:"price"`
	Tags  []string `json:"tags"`
	To    struct {
		Zip int32 `json:"zip"`
	} `json:"to"`
	Gift bool `json:"gift"`
}

func TestDecodeJSON(t *testing.T) {
	for _, c := range []struct{ body, want, why string }{
		{`{"item":"a","count":2,"price":1.5,"tags":["x"],"to":{"zip":1},"gift":true}`, "", "every kind"},
		{" \r\n\t{} \n", "", "whitespace around the value"},
		{`{"item":"}]{[\"\\"}`, "", "brackets in a string do not nest"},
		{``, "the body is empty", "nothing"},
		{" \n", "the body is empty", "nothing but whitespace"},
		{`{"item":"a"`, "line 1, column 12: the body ends within the value", "cut off"},
		{`{"item":"a",}`, "line 1, column 13: invalid character '}' looking for beginning of object key string", "a comma too many"},
		{"{\n  \"item\": a\n}", "line 2, column 11: invalid character 'a' looking for beginning of value", "a position in lines"},
		{`{"item":"é", x}`, "line 1, column 14: invalid character 'x'", "a column counts characters, not bytes"},
		{`{} {}`, "line 1, column 4: unexpected data after the value", "a second value"},
		{`{}x`, "line 1, column 3: unexpected data after the value", "rubbish behind"},
		{`{"price":1,"cost":2}`, `unknown field "cost"`, "an unknown field"},
		{`{"item":5}`, "item must be a string, not a number", "the wrong type"},
		{`{"count":"5"}`, "count must be an integer of 8 bits, 0 or more, not a string", "a number in quotes"},
		{`{"count":300}`, "count must be an integer of 8 bits, 0 or more, not 300", "out of range"},
		{`{"count":-1}`, "not -1", "below range"},
		{`{"to":{"zip":1.5}}`, "to.zip must be an integer of 32 bits, not 1.5", "a field inside another"},
		{`{"tags":{}}`, "tags must be an array, not an object", "an object for a list"},
		{`{"gift":[]}`, "gift must be a boolean, not an array", "a list for a boolean"},
		{`{"to":true}`, "to must be an object, not a boolean", "a boolean for an object"},
		{`[]`, "the value must be an object, not an array", "the outermost value"},
		{"{\"item\":\"\xff\"}", "the body is not UTF-8", "encoding/json would put U+FFFD in its place"},
		{strings.Repeat("[", 65), "line 1, column 65: nested deeper than 64 levels", "deeper than anyone needs"},
		{strings.Repeat("[", 64), "ends within the value", "the last level that is looked into"},
		{`{"item":"` + strings.Repeat("[", 100) + `"}`, "", "depth is counted outside of strings"},
	} {
		var v order
		err := decodeJSON([]byte(c.body), &v)
		if c.want == "" {
			require.NoError(t, err, "%s: %s", c.body, c.why)
			continue
		}
		var refusal *HTTPError
		require.ErrorAs(t, err, &refusal, "%s: %s", c.body, c.why)
		require.Equal(t, 400, refusal.Status, c.why)
		require.True(t, strings.HasPrefix(refusal.Message, "JSON: "), c.why)
		require.Contains(t, refusal.Message, c.want, "%s: %s", c.body, c.why)
	}
}

func TestDecodeJSONBlamesTheServerForItsOwnMistake(t *testing.T) {
	var refusal *HTTPError
	err := decodeJSON([]byte(`{}`), order{})
	require.Error(t, err, "not a pointer")
	require.False(t, errors.As(err, &refusal), "the client cannot mend that: %v", err)
}

func TestIsJSON(t *testing.T) {
	for _, c := range []struct {
		contentType string
		want        bool
		why         string
	}{
		{"application/json", true, "RFC 8259"},
		{"Application/JSON; charset=UTF-8", true, "in any case, with the only charset there is"},
		{"application/problem+json", true, "the suffix (RFC 6839)"},
		{"application/json; charset=latin1", false, "not UTF-8"},
		{"", false, "no type: a form of another site could send it without being asked (CORS)"},
		{"text/plain", false, "nor this"},
		{"text/json-ish", false, "nor what only looks like it"},
		{"application/json; =", false, "nor a broken parameter"},
	} {
		require.Equal(t, c.want, isJSON(c.contentType), "%q: %s", c.contentType, c.why)
	}
}

func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{`{"item":"a","count":2}`, `{"to":{"zip":1.5}}`, `[[[`, `{"item":"\"`, "\xff", `{} `, `nul`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var v order
		err := decodeJSON(body, &v)
		var refusal *HTTPError
		if err != nil {
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, 400, refusal.Status)
			require.NotContains(t, refusal.Message, "\n", "a message is one line")
		}
	})
}
