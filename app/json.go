// Strict decoding of JSON bodies, with error messages for the client. response.go writes JSON.

package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jsonDepthMax bounds the nesting of arrays and objects. encoding/json would accept 10,000 levels.
const jsonDepthMax = 64

// BindJSON reads the whole body, waits for it if necessary, and decodes it into v, a non-nil pointer. The body must be a single JSON value in
// UTF-8, with a Content-Type of application/json or */*+json, at most 64 levels of nesting, and no fields that v does not have. Of two fields
// with the same name the last one counts, as in encoding/json.
//
// The error can be returned by the handler. It tells the client what is wrong and where: 415 for another Content-Type, 413 for a body
// beyond the route's limit, otherwise 400. After an error, v may be partly set.
func (c *Context) BindJSON(v any) error {
	if !isJSON(c.HeaderView("Content-Type")) {
		return &HTTPError{Status: 415, Message: "the body must be JSON (Content-Type: application/json)"}
	}
	body, err := c.Body()
	if err != nil {
		return err
	}
	return decodeJSON(body, v)
}

// isJSON reports whether a Content-Type is a JSON type. A charset has no meaning for JSON (RFC 8259 section 11); only UTF-8 is accepted.
func isJSON(contentType string) bool {
	mediaType, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	if charset := parameters["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return false
	}
	return mediaType == "application/json" || strings.HasSuffix(mediaType, "+json")
}

func decodeJSON(body []byte, v any) error {
	if err := checkJSON(body); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return explainJSON(body, err)
	}
	if rest := bytes.TrimLeft(body[decoder.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return badJSON(nil, "%s: unexpected data after the value", position(body, int64(len(body)-len(rest))))
	}
	return nil
}

// checkJSON refuses empty bodies, invalid UTF-8 and deep nesting, which encoding/json accepts or explains badly.
func checkJSON(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return badJSON(nil, "the body is empty")
	}
	if !utf8.Valid(body) {
		return badJSON(nil, "the body is not UTF-8")
	}
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch b := body[i]; {
		case b == '"':
			quoted = !quoted
		case quoted && b == '\\':
			i++
		case quoted:
		case b == '{' || b == '[':
			if depth++; depth > jsonDepthMax {
				return badJSON(nil, "%s: nested deeper than %d levels", position(body, int64(i)), jsonDepthMax)
			}
		case b == '}' || b == ']':
			depth--
		}
	}
	return nil
}

// explainJSON turns an error of encoding/json into an *HTTPError for the client. An error about v is returned as it is, and answers 500.
func explainJSON(body []byte, err error) error {
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	var invalid *json.InvalidUnmarshalError
	switch {
	case errors.As(err, &invalid):
		return err
	case errors.As(err, &syntax):
		return badJSON(err, "%s: %v", position(body, syntax.Offset-1), err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return badJSON(err, "%s: the body ends within the value", position(body, int64(len(body))))
	case errors.As(err, &mismatch):
		must := fmt.Sprintf("must be %s, not %s", wanted(mismatch.Type), withArticle(mismatch.Value))
		if mismatch.Field != "" {
			err = errors.Join(FieldError{"json", mismatch.Field, must}, err)
		}
		return badJSON(err, "%s: %s %s", position(body, mismatch.Offset-1), fieldText(mismatch.Field), must)
	}
	if unknown, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name, _ := strconv.Unquote(unknown)
		return badJSON(errors.Join(FieldError{"json", name, "is unknown"}, err), "unknown field %s", unknown)
	}
	return badJSON(err, "%s", strings.TrimPrefix(err.Error(), "json: "))
}

func badJSON(err error, format string, args ...any) error {
	return &HTTPError{Status: 400, Message: "JSON: " + fmt.Sprintf(format, args...), Err: err}
}

// position turns a byte offset into a line and a column, both from 1.
func position(body []byte, offset int64) string {
	before := body[:max(0, min(offset, int64(len(body))))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Sprintf("line %d, column %d", line, column)
}

func fieldText(field string) string {
	if field == "" {
		return "the value"
	}
	return field
}

// wanted returns the JSON name of a Go type.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "a boolean"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return fmt.Sprintf("an integer of %d bits", t.Bits())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("an integer of %d bits, 0 or more", t.Bits())
	default:
		return "something else"
	}
}

// withArticle formats UnmarshalTypeError.Value, such as "string", "number", "number 1.5", "array", "object", "bool".
func withArticle(value string) string {
	switch {
	case strings.HasPrefix(value, "number "):
		return strings.TrimPrefix(value, "number ")
	case value == "bool":
		return "a boolean"
	case value == "array" || value == "object":
		return "an " + value
	default:
		return "a " + value
	}
}
