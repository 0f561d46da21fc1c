// Forms: decoding of urlencoded and multipart bodies, and its limits. The query of the target is not part of a form.

package app

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	"tafe/httpparse"
)

// FormLimits bounds the memory of a form, in addition to the route's limit on the body. Zero fields take their defaults. A form beyond a
// limit is answered with 413.
type FormLimits struct {
	Fields     int // fields, without files; default 256
	Files      int // default 16
	NameBytes  int // of a field name; default 256
	ValueBytes int // of a field value; default 64 KiB
	FileBytes  int // of a file, which is held in memory; default 1 MiB
}

func (l FormLimits) withDefaults() FormLimits {
	for _, f := range []struct {
		limit *int
		value int
	}{{&l.Fields, 256}, {&l.Files, 16}, {&l.NameBytes, 256}, {&l.ValueBytes, 64 << 10}, {&l.FileBytes, 1 << 20}} {
		if *f.limit <= 0 {
			*f.limit = f.value
		}
	}
	return l
}

// Form holds the fields and files of a request, in the order received. It is a copy that may be kept, and safe for concurrent reading.
type Form struct {
	Fields []FormField
	Files  []FormFile
}

// FormField is a field of a form.
type FormField struct {
	Name, Value string
}

// FormFile is an uploaded file.
type FormFile struct {
	Field       string // name of the field
	Name        string // last element of the client's file name; it contains no separators, but may be any other text or empty
	ContentType string // as sent by the client
	Content     []byte
}

// Value returns the first value of the field, "" if there is none.
func (f *Form) Value(name string) string {
	for i := range f.Fields {
		if f.Fields[i].Name == name {
			return f.Fields[i].Value
		}
	}
	return ""
}

// Values returns every value of the field, in order.
func (f *Form) Values(name string) (values []string) {
	for i := range f.Fields {
		if f.Fields[i].Name == name {
			values = append(values, f.Fields[i].Value)
		}
	}
	return values
}

// File returns the first file of the field, nil if there is none.
func (f *Form) File(field string) *FormFile {
	for i := range f.Files {
		if f.Files[i].Field == field {
			return &f.Files[i]
		}
	}
	return nil
}

// formKey is the key of the formResult that a Context stores.
type formKey struct{}

type formResult struct {
	form *Form
	err  error
}

// ParseForm reads the body as application/x-www-form-urlencoded or multipart/form-data, and waits for it if necessary. Later calls return
// the result of the first. The error can be returned by the handler: it answers 415 for another Content-Type, 413 beyond a limit, 400 for a
// malformed form, or it is that of the body.
func (c *Context) ParseForm(limits FormLimits) (*Form, error) {
	if known, ok := c.Get(formKey{}).(formResult); ok {
		return known.form, known.err
	}
	form, err := c.readForm(limits.withDefaults())
	c.Set(formKey{}, formResult{form, err})
	return form, err
}

// Form returns the first value of a field of the form. It calls ParseForm with the default limits if that was not called before. It returns
// "" if there is no such field or the form cannot be read; ParseForm returns the error.
func (c *Context) Form(name string) string {
	form, err := c.ParseForm(FormLimits{})
	if err != nil {
		return ""
	}
	return form.Value(name)
}

// MultipartReader returns a reader of the parts of a multipart/form-data body as they arrive. It is for uploads that should not be held in
// memory. Only the route's limit on the body applies. Reads may wait and must be made by the goroutine of the handler.
func (c *Context) MultipartReader() (*multipart.Reader, error) {
	boundary, err := formType(c.HeaderView("Content-Type"))
	if err == nil && boundary == "" {
		err = errNoForm
	}
	if err != nil {
		return nil, err
	}
	return multipart.NewReader(c.BodyReader(), boundary), nil
}

func (c *Context) readForm(limits FormLimits) (*Form, error) {
	boundary, err := formType(c.HeaderView("Content-Type"))
	if err != nil {
		return nil, err
	}
	if boundary != "" {
		return readMultipart(c.BodyReader(), boundary, limits)
	}
	body, err := c.Body()
	if err != nil {
		return nil, err
	}
	return parseURLEncoded(body, limits)
}

var errNoForm = &HTTPError{Status: 415,
	Message: "the body must be a form (Content-Type: application/x-www-form-urlencoded or multipart/form-data)"}

// formType returns the boundary of a multipart form; "" for a urlencoded one.
func formType(contentType string) (boundary string, err error) {
	mediaType, parameters, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
		return "", errNoForm
	case mediaType == "application/x-www-form-urlencoded":
		return "", nil
	case mediaType != "multipart/form-data":
		return "", errNoForm
	}
	// RFC 2046 section 5.1.1: 1 to 70 characters.
	if boundary = parameters["boundary"]; boundary == "" || len(boundary) > 70 {
		return "", badForm(nil, "the boundary is missing or too long")
	}
	return boundary, nil
}

func badForm(err error, format string, args ...any) error {
	return &HTTPError{Status: 400, Message: "form: " + fmt.Sprintf(format, args...), Err: err}
}

func bigForm(format string, args ...any) error {
	return &HTTPError{Status: 413, Message: "form: " + fmt.Sprintf(format, args...)}
}

func parseURLEncoded(body []byte, limits FormLimits) (*Form, error) {
	form := &Form{}
	for rawName, rawValue := range httpparse.Query(body) {
		name, err := httpparse.DecodeQuery(nil, rawName)
		if err != nil {
			return nil, badForm(err, "a field's name has a broken escape")
		}
		value, err := httpparse.DecodeQuery(nil, rawValue)
		if err != nil {
			return nil, badForm(err, "the value of %.64q has a broken escape", name)
		}
		if err := form.addField(string(name), string(value), limits); err != nil {
			return nil, err
		}
	}
	return form, nil
}

func (f *Form) addField(name, value string, limits FormLimits) error {
	switch {
	case len(f.Fields) == limits.Fields:
		return bigForm("more than %d fields", limits.Fields)
	case len(name) > limits.NameBytes:
		return bigForm("a field's name has more than %d bytes", limits.NameBytes)
	case len(value) > limits.ValueBytes:
		return bigForm("the value of %q has more than %d bytes", name, limits.ValueBytes)
	}
	f.Fields = append(f.Fields, FormField{name, value})
	return nil
}

func readMultipart(body io.Reader, boundary string, limits FormLimits) (*Form, error) {
	source := &source{Reader: body}
	reader := multipart.NewReader(source, boundary)
	form := &Form{}
	for {
		// Raw, because Content-Transfer-Encoding is deprecated (RFC 7578 section 4.7).
		part, err := reader.NextRawPart()
		if err == nil {
			err = form.addPart(part, limits)
		}
		var refusal *HTTPError
		switch {
		case err == nil:
		case err == io.EOF: // unwrapped; a wrapped EOF means that the last boundary is missing
			return form, nil
		case source.err != nil:
			return nil, source.err
		case errors.As(err, &refusal):
			return nil, err
		case errors.Is(err, multipart.ErrMessageTooLarge):
			return nil, bigForm("the headers of a part are too large")
		default:
			return nil, badForm(err, "the multipart body is malformed")
		}
	}
}

// source keeps the error of the body, to tell it from an error in the form.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func (f *Form) addPart(part *multipart.Part, limits FormLimits) error {
	name := part.FormName()
	_, disposition, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	fileName, isFile := disposition["filename"]
	switch {
	case name == "":
		return badForm(nil, "a part has no name")
	case len(name) > limits.NameBytes:
		return bigForm("a field's name has more than %d bytes", limits.NameBytes)
	case isFile && len(f.Files) == limits.Files:
		return bigForm("more than %d files", limits.Files)
	}
	contentMax := limits.ValueBytes
	if isFile {
		contentMax = limits.FileBytes
	}
	content, err := io.ReadAll(io.LimitReader(part, int64(contentMax)+1))
	switch {
	case err != nil:
		return err
	case isFile && len(content) > contentMax:
		return bigForm("the file in %q has more than %d bytes", name, contentMax)
	case !isFile:
		return f.addField(name, string(content), limits)
	}
	f.Files = append(f.Files, FormFile{
		Field: name, Name: lastElement(fileName), ContentType: part.Header.Get("Content-Type"), Content: content,
	})
	return nil
}

// lastElement returns the last element of a path of any system. Joined to a directory, it does not lead out of it.
func lastElement(path string) string {
	name := path[strings.LastIndexAny(path, `/\`)+1:]
	if name == "." || name == ".." || strings.IndexByte(name, 0) >= 0 {
		return ""
	}
	return name
}
