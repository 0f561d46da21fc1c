// The structs of compiled parts: which types their fields may have, and fields of types that the sections of the server do not use.

package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
)

var errWantTable = errors.New("want a table, such as { key = value }")

var (
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	valueType    = reflect.TypeFor[value]()
)

// CheckType returns nil if a table can be decoded into the struct t: every exported field has a toml tag, and a type that the file can
// give: strings, bools, numbers, time.Duration, the types of values, implementations of encoding.TextUnmarshaler, and structs, pointers to
// structs, slices and maps of these. The tags default, min, max and oneof must fit the field.
func CheckType(t reflect.Type) error {
	if t.Kind() != reflect.Struct {
		return fmt.Errorf("%v is not a struct", t)
	}
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("toml")
		switch {
		case f.Anonymous && !tagged && f.Type.Kind() == reflect.Struct:
			if err := CheckType(f.Type); err != nil {
				return err
			}
		case tag == "-" || !f.IsExported() && !tagged:
		case !f.IsExported():
			return fmt.Errorf("%v.%s has a toml tag and is not exported", t, f.Name)
		case !tagged || tagName(tag) == "":
			return fmt.Errorf(`%v.%s has no name in a toml tag; toml:"-" leaves a field out`, t, f.Name)
		default:
			if err := checkField(f); err != nil {
				return fmt.Errorf("%v.%s: %w", t, f.Name, err)
			}
		}
	}
	return nil
}

func checkField(f reflect.StructField) error {
	if err := checkKind(f.Type); err != nil {
		return err
	}
	for _, name := range []string{"default", "min", "max"} {
		text, ok := f.Tag.Lookup(name)
		if !ok {
			continue
		}
		v := reflect.New(f.Type).Elem()
		if isTable(f.Type) || f.Type.Kind() == reflect.Map || f.Type.Kind() == reflect.Slice && !ownValue(f.Type) {
			return fmt.Errorf("the tag %s does not fit %v", name, f.Type)
		}
		if err := setText(v, text); err != nil {
			return fmt.Errorf("%s %q: %w", name, text, err)
		}
		if name != "default" && !v.CanInt() && !v.CanUint() && !v.CanFloat() {
			return fmt.Errorf("the tag %s does not fit %v", name, f.Type)
		}
	}
	if f.Tag.Get("min") == "" != (f.Tag.Get("max") == "") {
		return errors.New("min and max go together")
	}
	return nil
}

// checkKind accepts the types that decoder.value can set.
func checkKind(t reflect.Type) error {
	switch {
	case ownValue(t):
		return nil
	case t.Kind() == reflect.Struct:
		return CheckType(t)
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct && !ownValue(t.Elem()):
		return CheckType(t.Elem())
	case t.Kind() == reflect.Slice, t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		return checkKind(t.Elem())
	case t.Kind() == reflect.String, t.Kind() == reflect.Bool:
		return nil
	}
	if v := reflect.New(t).Elem(); v.CanInt() || v.CanUint() || v.CanFloat() {
		return nil
	}
	return fmt.Errorf("a file cannot give a value of type %v", t)
}

// ownValue reports whether values of t are read as a whole: not by kind.
func ownValue(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return t == durationType || p.Implements(valueType) || p.Implements(textType)
}

func isTable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !ownValue(t) || t.Kind() == reflect.Pointer
}

// tagName is the name in a toml tag, without options such as omitempty; "-" is none.
func tagName(tag string) string {
	name, _, _ := strings.Cut(tag, ",")
	if name == "-" {
		return ""
	}
	return name
}

// asValue returns v as a value if it is read as a whole.
func asValue(v reflect.Value) (value, bool) {
	switch p := v.Addr().Interface().(type) {
	case value:
		return p, true
	case *time.Duration:
		return (*Duration)(p), true
	case encoding.TextUnmarshaler:
		return textValue{p}, true
	}
	return nil, false
}

// textValue reads text.
type textValue struct{ encoding.TextUnmarshaler }

func (t textValue) set(v any) error {
	text, ok := v.(string)
	if !ok {
		return errors.New("want text in quotes")
	}
	return t.UnmarshalText([]byte(text))
}
