// The fields of a struct that Bind sets, found once for each type, and the conversion of texts to their types.

package app

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"tafe/httpparse"
)

// bindSource is the part of a request that a field is set from.
type bindSource uint8

const (
	inPath bindSource = iota
	inQuery
	inHeader
	inCookie
	inForm
	bindSources
)

// String returns the tag of the source.
func (s bindSource) String() string {
	return [bindSources]string{"path", "query", "header", "cookie", "form"}[s]
}

// bindPlan says how Bind sets the fields of a type.
type bindPlan struct {
	fields  []bindField
	json    reflect.Type // a struct of the fields with a json tag alone; nil: none
	members [][]int      // the index of each of its fields in the type
}

// bindField is a field that is set from texts, or from files.
type bindField struct {
	at       []int
	in       bindSource
	name     string
	required bool
	file     bool
	many     bool                                       // a slice
	set      func(to reflect.Value, text string) string // returns what is wrong, or ""
}

func (p *bindPlan) has(s bindSource) bool {
	return slices.ContainsFunc(p.fields, func(f bindField) bool { return f.in == s })
}

// bindPlan returns the plan for a type of struct.
func (a *App) bindPlan(t reflect.Type) (*bindPlan, error) {
	if known, ok := a.plans.Load(t); ok {
		return known.(*bindPlan), nil
	}
	p := &bindPlan{}
	var members []reflect.StructField
	if err := p.add(t, nil, &members); err != nil {
		return nil, fmt.Errorf("app: Bind: %v: %w", t, err)
	}
	if len(p.fields) == 0 && len(members) == 0 {
		return nil, fmt.Errorf("app: Bind: %v has no field with a tag of path, query, header, cookie, form or json", t)
	}
	if len(members) > 0 {
		p.json = reflect.StructOf(members)
	}
	a.plans.Store(t, p)
	return p, nil
}

// add adds the fields of a struct at an index.
func (p *bindPlan) add(t reflect.Type, at []int, members *[]reflect.StructField) error {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(slices.Clip(at), i)
		tagged, err := p.addField(f, index, members)
		if err != nil {
			return fmt.Errorf("field %s: %w", f.Name, err)
		}
		if !tagged && f.Anonymous && f.Type.Kind() == reflect.Struct {
			if err := p.add(f.Type, index, members); err != nil {
				return err
			}
		}
	}
	return nil
}

// addField adds a field if it has a tag.
func (p *bindPlan) addField(f reflect.StructField, at []int, members *[]reflect.StructField) (tagged bool, err error) {
	for s := range bindSources {
		tag, ok := f.Tag.Lookup(s.String())
		if !ok || tag == "-" {
			continue
		}
		if tagged {
			return true, fmt.Errorf("more than one tag")
		}
		tagged = true
		b := bindField{at: at, in: s}
		var options string
		b.name, options, _ = strings.Cut(tag, ",")
		b.required = options == "required"
		switch {
		case b.name == "":
			return true, fmt.Errorf("the tag %s has no name", s)
		case options != "" && !b.required:
			return true, fmt.Errorf("the tag %s has the option %q: want required", s, options)
		case !f.IsExported():
			return true, fmt.Errorf("it is not exported")
		}
		if err := b.typed(f.Type); err != nil {
			return true, err
		}
		p.fields = append(p.fields, b)
	}
	tag, ok := f.Tag.Lookup("json")
	switch {
	case !ok || tag == "-":
		return tagged, nil
	case tagged:
		return true, fmt.Errorf("more than one tag")
	case !f.IsExported():
		return true, fmt.Errorf("it is not exported")
	}
	name, options, _ := strings.Cut(tag, ",")
	if name == "" {
		name = f.Name
	}
	*members = append(*members, reflect.StructField{
		Name: fmt.Sprintf("F%d", len(*members)), Type: f.Type, Tag: reflect.StructTag(fmt.Sprintf("json:%q", strings.TrimSuffix(name+","+options, ","))),
	})
	p.members = append(p.members, at)
	return true, nil
}

// typed sets how values are converted to a type.
func (b *bindField) typed(t reflect.Type) error {
	if b.in == inForm && (t == reflect.TypeFor[*FormFile]() || t == reflect.TypeFor[[]FormFile]()) {
		b.file, b.many = true, t.Kind() == reflect.Slice
		return nil
	}
	if b.set = setterOf(t); b.set != nil {
		return nil
	}
	if t.Kind() == reflect.Slice {
		if b.set, b.many = setterOf(t.Elem()), true; b.set != nil {
			return nil
		}
	}
	return fmt.Errorf("%v cannot be set from a text", t)
}

// bind sets the field of target. form is nil if there is none.
func (b *bindField) bind(c *Context, form *Form, target reflect.Value) *FieldError {
	fault := func(message string) *FieldError {
		return &FieldError{In: b.in.String(), Field: b.name, Message: message}
	}
	to := target.FieldByIndex(b.at)
	found := false
	switch {
	case b.file:
		found = bindFiles(form, b.name, to, b.many)
	case b.many:
		texts := b.texts(c, form)
		if found = len(texts) > 0; !found {
			break
		}
		list := reflect.MakeSlice(to.Type(), len(texts), len(texts))
		for i, text := range texts {
			if wrong := b.set(list.Index(i), text); wrong != "" {
				return fault(wrong)
			}
		}
		to.Set(list)
	default:
		texts := b.texts(c, form)
		if found = len(texts) > 0; !found {
			break
		}
		if wrong := b.set(to, texts[0]); wrong != "" {
			return fault(wrong)
		}
	}
	if !found && b.required {
		return fault("is missing")
	}
	return nil
}

// texts returns the values that the request has for the field.
func (b *bindField) texts(c *Context, form *Form) (texts []string) {
	switch b.in {
	case inPath:
		if c.params.get(b.name) != nil {
			texts = []string{c.Param(b.name)}
		}
	case inQuery:
		texts = slices.Collect(c.QueryAll(b.name))
	case inCookie:
		for name, value := range c.Cookies() {
			if name == b.name {
				texts = append(texts, value)
			}
		}
	case inHeader:
		if b.many {
			return slices.Collect(httpparse.Members(c.HeaderList(b.name)))
		}
		if value := c.req.Header(b.name); value != nil {
			texts = []string{string(value)}
		}
	case inForm:
		if form != nil {
			texts = form.Values(b.name)
		}
	}
	return texts
}

// bindFiles sets a field to the files of a form.
func bindFiles(form *Form, name string, to reflect.Value, many bool) bool {
	if form == nil {
		return false
	}
	if !many {
		file := form.File(name)
		if file != nil {
			to.Set(reflect.ValueOf(file))
		}
		return file != nil
	}
	var files []FormFile
	for _, f := range form.Files {
		if f.Field == name {
			files = append(files, f)
		}
	}
	if files != nil {
		to.Set(reflect.ValueOf(files))
	}
	return files != nil
}

// setterOf returns a function that sets a value of type t from a text; nil if there is none.
func setterOf(t reflect.Type) func(reflect.Value, string) string {
	switch {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return setText
	case t == reflect.TypeFor[time.Duration]():
		return setDuration
	case t == reflect.TypeFor[[]byte]():
		return func(to reflect.Value, text string) string { to.SetBytes([]byte(text)); return "" }
	}
	switch t.Kind() {
	case reflect.Pointer:
		set := setterOf(t.Elem())
		if set == nil {
			return nil
		}
		return func(to reflect.Value, text string) string {
			target := reflect.New(t.Elem())
			wrong := set(target.Elem(), text)
			to.Set(target)
			return wrong
		}
	case reflect.String:
		return func(to reflect.Value, text string) string { to.SetString(text); return "" }
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return setNumber
	}
	return nil
}

func setText(to reflect.Value, text string) string {
	if err := to.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
		return fmt.Sprintf("is not valid: %.64q", text)
	}
	return ""
}

func setDuration(to reflect.Value, text string) string {
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Sprintf("must be a duration, such as 1m30s, not %.64q", text)
	}
	to.SetInt(int64(d))
	return ""
}

// setNumber sets a boolean or a number.
func setNumber(to reflect.Value, text string) string {
	var err error
	switch {
	case to.Kind() == reflect.Bool:
		var v bool
		if v, err = strconv.ParseBool(text); text == "on" { // what a form has for a checkbox
			v, err = true, nil
		}
		to.SetBool(v)
	case to.CanInt():
		var v int64
		v, err = strconv.ParseInt(text, 10, to.Type().Bits())
		to.SetInt(v)
	case to.CanUint():
		var v uint64
		v, err = strconv.ParseUint(text, 10, to.Type().Bits())
		to.SetUint(v)
	default:
		var v float64
		v, err = strconv.ParseFloat(text, to.Type().Bits())
		to.SetFloat(v)
	}
	if err != nil {
		return fmt.Sprintf("must be %s, not %.64q", wanted(to.Type()), text)
	}
	return ""
}
