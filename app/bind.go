// Bind: a request into a struct by the tags of its fields, and its validation. bindplan.go has the fields of a struct and the conversion of
// their values; json.go and form.go decode bodies.

package app

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// FieldError is what is wrong with one value of a request.
type FieldError struct {
	In      string `json:"in,omitempty"` // path, query, header, cookie, form or json; "" if unknown
	Field   string `json:"field"`        // the name that the client uses
	Message string `json:"message"`      // completes "FIELD …", such as "must be an integer"
}

// Error returns the name of the field and the message.
func (e FieldError) Error() string {
	if e.In == "" {
		return e.Field + " " + e.Message
	}
	return e.In + ": " + e.Field + " " + e.Message
}

// FieldErrors are the faults of a request, which Bind finds and a validator may return. They are the cause of an HTTPError: errors.As finds
// them there. Error responses in JSON list them under "fields".
type FieldErrors []FieldError

// Error returns the errors of all fields.
func (e FieldErrors) Error() string {
	texts := make([]string, len(e))
	for i := range e {
		texts[i] = e[i].Error()
	}
	return strings.Join(texts, "; ")
}

// Validator is a value that Bind asks whether it is valid.
type Validator interface {
	// Validate returns nil, or an error for the client: FieldErrors or any other. It must not wait.
	Validate() error
}

// Bind sets the fields of v, a pointer to a struct, from the request, by their tags:
//
//	ID     int64      `path:"id"`                  // a parameter of the route
//	Page   int        `query:"page"`               // the first value; all values for a slice
//	Tags   []string   `query:"tag,required"`       // 400 without a value
//	Agent  string     `header:"User-Agent"`        // the members of a list for a slice
//	Theme  string     `cookie:"theme"`
//	Title  string     `form:"title"`               // of a urlencoded or multipart body
//	Avatar *FormFile  `form:"avatar"`              // a file, or []FormFile
//	Note   *string    `json:"note"`                // a member of a JSON body
//
// A field has one of these tags; fields without one are left alone, and so are those whose value the request does not have: set defaults before.
// Embedded structs count with their fields. Types are strings, booleans, numbers, time.Duration, every encoding.TextUnmarshaler, and pointers to
// and slices of these; for json, those of encoding/json. A body sets no field that has no json or form tag.
//
// A struct with json fields needs a body as BindJSON does, and one with form fields a body as ParseForm does, with its default limits unless it
// was called before; with both, the Content-Type decides. The body may be absent for GET, HEAD and DELETE.
//
// When all fields are set, v is validated: by its own method if v is a Validator, and then by Options.Validator.
//
// The error can be returned by the handler. It answers 400 and names the fields that are missing or cannot be converted; 422 with the error of
// a validator, unless that is an *HTTPError itself; or as BindJSON and ParseForm. After an error, v may be partly set. An error about the type
// of v answers 500.
func (c *Context) Bind(v any) error {
	target := reflect.ValueOf(v)
	if target.Kind() != reflect.Pointer || target.IsNil() || target.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("app: Bind: %T is not a pointer to a struct", v)
	}
	target = target.Elem()
	plan, err := c.app.bindPlan(target.Type())
	if err != nil {
		return err
	}
	form, err := c.bindBody(plan, target)
	if err != nil {
		return err
	}
	var faults FieldErrors
	for i := range plan.fields {
		if fault := plan.fields[i].bind(c, form, target); fault != nil {
			faults = append(faults, *fault)
		}
	}
	if len(faults) > 0 {
		return &HTTPError{Status: http.StatusBadRequest, Message: faults.Error(), Err: faults}
	}
	return c.validate(v)
}

// bindBody decodes a JSON body into target, or returns the form.
func (c *Context) bindBody(plan *bindPlan, target reflect.Value) (*Form, error) {
	withForm := plan.has(inForm)
	if plan.json == nil && !withForm {
		return nil, nil
	}
	contentType := c.HeaderView("Content-Type")
	switch c.Method() {
	case http.MethodGet, http.MethodHead, http.MethodDelete:
		if c.req.ContentLength == 0 && contentType == "" {
			return nil, nil
		}
	}
	if plan.json == nil || withForm && !isJSON(contentType) {
		form, err := c.ParseForm(FormLimits{})
		if errors.Is(err, errNoForm) && plan.json != nil {
			err = errNoJSONOrForm
		}
		return form, err
	}
	members := reflect.New(plan.json)
	for i, at := range plan.members {
		members.Elem().Field(i).Set(target.FieldByIndex(at))
	}
	err := c.BindJSON(members.Interface())
	for i, at := range plan.members {
		target.FieldByIndex(at).Set(members.Elem().Field(i))
	}
	return nil, err
}

var errNoJSONOrForm = &HTTPError{Status: 415,
	Message: "the body must be JSON or a form (Content-Type: application/json, application/x-www-form-urlencoded or multipart/form-data)"}

// validate runs the validators for a bound value.
func (c *Context) validate(v any) (err error) {
	if own, ok := v.(Validator); ok {
		err = own.Validate()
	}
	if f := c.app.options.Validator; err == nil && f != nil {
		err = f(v)
	}
	var known *HTTPError
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &HTTPError{Status: http.StatusUnprocessableEntity, Message: err.Error(), Err: err}
}

// faultsOf returns the errors of fields that are the cause of e.
func faultsOf(e *HTTPError) FieldErrors {
	var all FieldErrors
	var one FieldError
	switch {
	case e.Err == nil:
	case errors.As(e.Err, &all):
		return slices.Clone(all)
	case errors.As(e.Err, &one):
		return FieldErrors{one}
	}
	return nil
}
