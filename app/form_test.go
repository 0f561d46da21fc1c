package app

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

var narrow = FormLimits{Fields: 3, Files: 2, NameBytes: 8, ValueBytes: 10, FileBytes: 20}

func TestParseURLEncoded(t *testing.T) {
	for _, c := range []struct {
		body   string
		fields []FormField
		status int
		text   string
		why    string
	}{
		{"a=1&b=2&a=3", []FormField{{"a", "1"}, {"b", "2"}, {"a", "3"}}, 0, "", "in order, repeated ones too"},
		{"", nil, 0, "", "an empty form is a form"},
		{"a=x+y%26z", []FormField{{"a", "x y&z"}}, 0, "", "plus is a space, escapes are decoded"},
		{"a%3Db=c=d", []FormField{{"a=b", "c=d"}}, 0, "", "only the first equals sign separates"},
		{"a&b=", []FormField{{"a", ""}, {"b", ""}}, 0, "", "without a value"},
		{"&&a=1&", []FormField{{"a", "1"}}, 0, "", "empty pairs are none"},
		{"a=%zz", nil, 400, `the value of "a" has a broken escape`, "a broken escape in a value"},
		{"%4=1", nil, 400, "a field's name has a broken escape", "and in a name"},
		{"a=1&b=2&c=3&d=4", nil, 413, "more than 3 fields", "too many"},
		{"a=1&b=2&c=3", []FormField{{"a", "1"}, {"b", "2"}, {"c", "3"}}, 0, "", "as many as may be"},
		{"123456789=1", nil, 413, "name has more than 8 bytes", "a long name"},
		{"12345678=1234567890", []FormField{{"12345678", "1234567890"}}, 0, "", "the longest name and value"},
		{"a=12345678901", nil, 413, `value of "a" has more than 10 bytes`, "a long value"},
		{"a=%31%32%33%34%35%36%37%38%39%30", []FormField{{"a", "1234567890"}}, 0, "", "lengths count decoded bytes"},
	} {
		form, err := parseURLEncoded([]byte(c.body), narrow)
		if c.status != 0 {
			requireRefusal(t, err, c.status, c.text, c.body+": "+c.why)
			continue
		}
		require.NoError(t, err, "%s: %s", c.body, c.why)
		require.Equal(t, c.fields, form.Fields, "%s: %s", c.body, c.why)
	}
}

func requireRefusal(t *testing.T, err error, status int, text, why string) {
	t.Helper()
	var refusal *HTTPError
	require.ErrorAs(t, err, &refusal, why)
	require.Equal(t, status, refusal.Status, why)
	require.Contains(t, refusal.Message, text, why)
}

// multiparts writes a body with the boundary "b": each part is a Content-Disposition, more headers perhaps, an empty line and the content.
func multiparts(parts ...string) string {
	var body strings.Builder
	for _, part := range parts {
		body.WriteString("--b\r\nContent-Disposition: " + part + "\r\n")
	}
	return body.String() + "--b--\r\n"
}

func TestReadMultipart(t *testing.T) {
	for _, c := range []struct {
		body   string
		want   Form
		status int
		text   string
		why    string
	}{
		{multiparts("form-data; name=a\r\n\r\n1", "form-data; name=\"b\"\r\n\r\n"),
			Form{Fields: []FormField{{"a", "1"}, {"b", ""}}}, 0, "", "fields, one of them empty"},
		{multiparts("form-data; name=f; filename=x.txt\r\nContent-Type: text/plain\r\n\r\nhi\r\nthere"),
			Form{Files: []FormFile{{"f", "x.txt", "text/plain", []byte("hi\r\nthere")}}}, 0, "", "a file with its type, and its line ends"},
		{multiparts("form-data; name=f; filename=\"\"\r\n\r\n"),
			Form{Files: []FormFile{{"f", "", "", []byte{}}}}, 0, "", "a file input that was left empty"},
		{multiparts("form-data; name=f; filename=\"/etc/../passwd\"\r\n\r\n"),
			Form{Files: []FormFile{{"f", "passwd", "", []byte{}}}}, 0, "", "a path becomes a name"},
		{multiparts("form-data; name=f; filename=\"C:\\\\dir\\\\..\"\r\n\r\n"),
			Form{Files: []FormFile{{"f", "", "", []byte{}}}}, 0, "", "a name that climbs becomes none"},
		{multiparts("form-data; name=f; filename*=UTF-8''%e2%82%ac.txt\r\n\r\n"),
			Form{Files: []FormFile{{"f", "€.txt", "", []byte{}}}}, 0, "", "an encoded name (RFC 5987)"},
		{multiparts("form-data; name=a\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=41"),
			Form{Fields: []FormField{{"a", "=41"}}}, 0, "", "transfer encodings are deprecated, and left alone"},
		{multiparts(), Form{}, 0, "", "no parts"},
		{"preamble\r\n" + multiparts("form-data; name=a\r\n\r\n1") + "epilogue",
			Form{Fields: []FormField{{"a", "1"}}}, 0, "", "what stands around the parts is skipped (RFC 2046)"},

		{multiparts("form-data\r\n\r\n1"), Form{}, 400, "a part has no name", "no name"},
		{multiparts("attachment; name=a\r\n\r\n1"), Form{}, 400, "a part has no name", "no form-data"},
		{"", Form{}, 400, "malformed", "no boundary at all"},
		{"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1", Form{}, 400, "malformed", "cut off within a part"},
		{"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--b\r\n", Form{Fields: []FormField{{"a", "1"}}}, 0, "",
			"a boundary that announces one more part, and nothing: what came is whole"},
		{"--b\r\nno header\r\n\r\n1\r\n--b--\r\n", Form{}, 400, "malformed", "a header without a colon"},
		{multiparts("form-data; name=123456789\r\n\r\n"), Form{}, 413, "name has more than 8 bytes", "a long name"},
		{multiparts("form-data; name=a\r\n\r\n12345678901"), Form{}, 413, `value of "a" has more than 10 bytes`, "a long value"},
		{multiparts("form-data; name=a; filename=x\r\n\r\n123456789012345678901"), Form{}, 413, `file in "a" has more than 20 bytes`, "a long file"},
		{multiparts("form-data; name=a; filename=x\r\n\r\n", "form-data; name=a; filename=x\r\n\r\n", "form-data; name=a; filename=x\r\n\r\n"),
			Form{}, 413, "more than 2 files", "too many files"},
		{multiparts("form-data; name=a\r\n\r\n", "form-data; name=b\r\n\r\n", "form-data; name=c\r\n\r\n", "form-data; name=d\r\n\r\n"),
			Form{}, 413, "more than 3 fields", "too many fields"},
		{multiparts("form-data; name=a\r\nX: " + strings.Repeat("x", 11<<20) + "\r\n\r\n"), Form{}, 413, "headers of a part", "endless headers"},
	} {
		form, err := readMultipart(strings.NewReader(c.body), "b", narrow)
		if c.status != 0 {
			requireRefusal(t, err, c.status, c.text, c.why)
			continue
		}
		require.NoError(t, err, c.why)
		require.Equal(t, &c.want, form, c.why)
	}
}

func TestReadMultipartTellsTheBodyFromTheForm(t *testing.T) {
	gone := errors.New("the client is gone")
	start := strings.NewReader("--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1")
	_, err := readMultipart(io.MultiReader(start, iotest.ErrReader(gone)), "b", narrow)
	require.Equal(t, gone, err, "an interrupted form is not a malformed one")
}

// Forms that mime/multipart writes are read back, also in pieces of one byte.
func TestReadMultipartRoundTrip(t *testing.T) {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	require.NoError(t, w.WriteField("title", "a \"b\"\r\nc"))
	file, err := w.CreateFormFile("doc", "r\"e\".bin")
	require.NoError(t, err)
	content := bytes.Repeat([]byte("--\r\n\x00"), 1000)
	_, err = file.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())

	form, err := readMultipart(iotest.OneByteReader(&body), w.Boundary(), FormLimits{}.withDefaults())
	require.NoError(t, err)
	require.Equal(t, "a \"b\"\r\nc", form.Value("title"))
	require.Equal(t, []string{"a \"b\"\r\nc"}, form.Values("title"))
	require.Empty(t, form.Value("other"))
	require.Nil(t, form.Values("other"))
	require.Equal(t, "r\"e\".bin", form.File("doc").Name)
	require.Equal(t, content, form.File("doc").Content)
	require.Nil(t, form.File("title"), "a field is no file")
}

func TestFormType(t *testing.T) {
	for _, c := range []struct {
		contentType, boundary string
		status                int
		why                   string
	}{
		{"application/x-www-form-urlencoded", "", 0, "the ordinary form"},
		{"application/x-www-form-urlencoded; charset=UTF-8", "", 0, "with a charset, which is always UTF-8"},
		{"Multipart/Form-Data; boundary=\"a b\"", "a b", 0, "a quoted boundary"},
		{"multipart/form-data", "", 400, "no boundary"},
		{"multipart/form-data; boundary=" + strings.Repeat("x", 71), "", 400, "a boundary of more than 70"},
		{"multipart/mixed; boundary=x", "", 415, "another multipart"},
		{"application/json", "", 415, "no form"},
		{"", "", 415, "no type"},
	} {
		boundary, err := formType(c.contentType)
		require.Equal(t, c.boundary, boundary, "%s: %s", c.contentType, c.why)
		if c.status == 0 {
			require.NoError(t, err, "%s: %s", c.contentType, c.why)
		} else {
			requireRefusal(t, err, c.status, "", c.contentType+": "+c.why)
		}
	}
}

func FuzzReadMultipart(f *testing.F) {
	f.Add([]byte(multiparts("form-data; name=a\r\n\r\n1\r\n", "form-data; name=f; filename=../x\r\n\r\nabc\r\n")))
	f.Add([]byte("--b\r\n\r\n\r\n--b--"))
	f.Fuzz(func(t *testing.T, body []byte) {
		form, err := readMultipart(bytes.NewReader(body), "b", narrow)
		if err != nil {
			var refusal *HTTPError
			require.ErrorAs(t, err, &refusal)
			return
		}
		require.LessOrEqual(t, len(form.Fields), narrow.Fields)
		require.LessOrEqual(t, len(form.Files), narrow.Files)
		for _, field := range form.Fields {
			require.LessOrEqual(t, len(field.Value), narrow.ValueBytes)
		}
		for _, file := range form.Files {
			require.LessOrEqual(t, len(file.Content), narrow.FileBytes)
			require.NotContains(t, file.Name, "/")
			require.NotEqual(t, "..", file.Name)
		}
	})
}
