// From the tree of TOML to the structs. Unknown keys, wrong types and values out of bounds become Problems. rules.go checks values against
// each other.

package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// decoder collects problems. A problem in a part of the file (a section, or one element of a repeated one) excludes that part
// from later stages, which would report it again in other words.
type decoder struct {
	*source
	problems Problems
	warnings Problems
	spoilt   map[string]bool // parts with problems of earlier stages
	checking bool            // for Check: an environment variable that is not set is a warning
	registry *Registry
}

func (d *decoder) problem(p path, format string, args ...any) {
	d.problemAt(p, d.place(p), format, args...)
}

func (d *decoder) problemAt(p path, at place, format string, args ...any) {
	if !d.spoilt[p.part()] {
		d.problems = append(d.problems, d.newProblem(p, at, format, args...))
	}
}

func (d *decoder) warn(p path, format string, args ...any) {
	d.warnings = append(d.warnings, d.newProblem(p, d.place(p), format, args...))
}

// stage ends a stage.
func (d *decoder) stage() {
	d.spoilt = map[string]bool{}
	for _, p := range d.problems {
		d.spoilt[p.part] = true
	}
}

// part returns the section of p, with its index if it is repeated. Each route of a site is a part of its own.
func (p path) part() string {
	if len(p) > 3 && p[0] == "site" && p[2] == "route" {
		return p[:4].id()
	}
	if len(p) > 1 {
		if _, err := strconv.Atoi(p[1]); err == nil {
			return p[:2].id()
		}
	}
	return p[:min(len(p), 1)].id()
}

func (d *decoder) config(c *Config, tree map[string]any) {
	d.table(nil, reflect.ValueOf(c).Elem(), tree)
}

// key is a field that a file can set.
type key struct {
	name  string
	field reflect.StructField
}

// keys returns the keys of a struct, including embedded structs.
func keys(t reflect.Type) (all []key) {
	for _, field := range reflect.VisibleFields(t) {
		if name := tagName(field.Tag.Get("toml")); name != "" {
			all = append(all, key{name, field})
		}
	}
	return all
}

// setDefaults sets the defaults of tags.
func setDefaults(v any) { setDefaultsOf(reflect.ValueOf(v).Elem()) }

func setDefaultsOf(s reflect.Value) {
	for _, k := range keys(s.Type()) {
		v := s.FieldByIndex(k.field.Index)
		text, ok := k.field.Tag.Lookup("default")
		switch {
		case ok:
			if err := setText(v, text); err != nil {
				panic(fmt.Sprintf("config: default of %s: %v", k.name, err))
			}
		case v.Kind() == reflect.Struct:
			if _, own := asValue(v); !own {
				setDefaultsOf(v)
			}
		}
	}
}

// setText sets v from a tag.
func setText(v reflect.Value, text string) error {
	if own, ok := asValue(v); ok {
		return own.set(text)
	}
	switch {
	case v.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(text)
		v.SetBool(b)
		return err
	case v.CanInt():
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		v.SetInt(n)
		return err
	case v.CanUint():
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		v.SetUint(n)
		return err
	case v.CanFloat():
		f, err := strconv.ParseFloat(text, v.Type().Bits())
		v.SetFloat(f)
		return err
	default:
		v.SetString(text)
		return nil
	}
}

// table fills a struct.
func (d *decoder) table(p path, s reflect.Value, tree map[string]any) {
	known := keys(s.Type())
	for name := range tree {
		if !slices.ContainsFunc(known, func(k key) bool { return k.name == name }) {
			d.problem(p.child(name), "unknown key %s; %s", p.child(name), suggestion(name, known))
		}
	}
	for _, k := range known {
		v, given := tree[k.name]
		switch {
		case given:
			d.value(p.child(k.name), s.FieldByIndex(k.field.Index), v, k.field.Tag)
		case k.field.Tag.Get("required") != "":
			d.problem(p, "%s lacks the key %s", cmp.Or(p.String(), "the file"), k.name)
		}
	}
}

// value sets into from v.
func (d *decoder) value(p path, into reflect.Value, v any, tag reflect.StructTag) {
	if own, ok := asValue(into); ok {
		err := own.set(v)
		if d.checking && errors.Is(err, errEnvUnset) {
			d.warn(p, "%s: %v here", p, err)
			return
		}
		if err != nil {
			d.problem(p, "%s = %s: %v", p, shown(into, v), err)
			return
		}
		d.bounds(p, into, tag)
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		setDefaultsOf(into.Elem())
		d.value(p, into.Elem(), v, tag)
	case reflect.Struct:
		tree, ok := v.(map[string]any)
		if !ok {
			d.problem(p, "%s = %s: want a table%s", p, shown(into, v), tableForm(p, into.Type(), v))
			return
		}
		d.table(p, into, tree)
	case reflect.Slice:
		d.array(p, into, v, tag)
	case reflect.Map:
		d.pairs(p, into, v)
	default:
		d.scalar(p, into, v, tag)
	}
}

// tableForm returns how the table at p is written, for an error about another value. An element of an array has no header of its own.
func tableForm(p path, t reflect.Type, v any) string {
	if _, err := strconv.Atoi(p[len(p)-1]); err == nil {
		return ", such as " + inlineTable(t, v)
	}
	return fmt.Sprintf(": [%s], or { key = value }", p)
}

// inlineTable returns a table of t with its required keys. The first of them has the value v, if that is text.
func inlineTable(t reflect.Type, v any) string {
	var pairs []string
	for _, k := range keys(t) {
		if k.field.Tag.Get("required") == "" {
			continue
		}
		shown := `"…"`
		if text, ok := v.(string); ok && len(pairs) == 0 && len(text) <= 60 {
			shown = strconv.Quote(text)
		}
		pairs = append(pairs, k.name+" = "+shown)
	}
	if len(pairs) == 0 {
		return "{ key = value }"
	}
	return "{ " + strings.Join(pairs, ", ") + " }"
}

func (d *decoder) array(p path, into reflect.Value, v any, tag reflect.StructTag) {
	values, ok := v.([]any)
	if !ok {
		if into.Type().Elem().Kind() == reflect.Struct && into.Type().Elem().PkgPath() != "" && len(keys(into.Type().Elem())) > 0 {
			if text, ok := v.(string); ok {
				d.problem(p, "%s = %q: want an array of tables, such as [%s]", p, text, inlineTable(into.Type().Elem(), v))
				return
			}
			d.problem(p, "%s is given once: want it in double brackets, [[%s]]", p, p)
		} else {
			d.problem(p, "%s = %s: want an array, such as [\"…\"]", p, shown(into, v))
		}
		return
	}
	into.Set(reflect.MakeSlice(into.Type(), len(values), len(values)))
	for i := range values {
		element := into.Index(i)
		if element.Kind() == reflect.Struct && !ownValue(element.Type()) && len(keys(element.Type())) > 0 {
			setDefaultsOf(element)
		}
		d.value(p.index(i), element, values[i], tag)
	}
}

// pairs fills a map whose keys are the operator's.
func (d *decoder) pairs(p path, into reflect.Value, v any) {
	tree, ok := v.(map[string]any)
	if !ok {
		d.problem(p, "%s = %s: want a table, such as { name = \"value\" }", p, shown(into, v))
		return
	}
	into.Set(reflect.MakeMapWithSize(into.Type(), len(tree)))
	for name := range tree {
		element := reflect.New(into.Type().Elem()).Elem()
		d.value(p.child(name), element, tree[name], "")
		into.SetMapIndex(reflect.ValueOf(name).Convert(into.Type().Key()), element)
	}
}

func (d *decoder) scalar(p path, into reflect.Value, v any, tag reflect.StructTag) {
	fits, want := false, ""
	switch {
	case into.Kind() == reflect.String:
		var text string
		if text, fits = v.(string); fits {
			into.SetString(text)
		}
		want = "text in quotes"
	case into.Kind() == reflect.Bool:
		var b bool
		if b, fits = v.(bool); fits {
			into.SetBool(b)
		}
		want = "true or false, without quotes"
	case into.CanInt():
		var n int64
		if n, fits = v.(int64); fits {
			if fits = !into.OverflowInt(n); fits {
				into.SetInt(n)
			}
		}
		want = "a whole number, without quotes"
	case into.CanUint():
		var n int64
		if n, fits = v.(int64); fits {
			if fits = n >= 0 && !into.OverflowUint(uint64(n)); fits {
				into.SetUint(uint64(n))
			}
		}
		want = "a whole number from 0 on, without quotes"
	case into.CanFloat():
		switch n := v.(type) {
		case int64:
			into.SetFloat(float64(n))
			fits = true
		case float64:
			into.SetFloat(n)
			fits = true
		}
		want = "a number, without quotes"
	default:
		panic("config: no such kind: " + into.Type().String())
	}
	if !fits {
		d.problem(p, "%s = %s: want %s", p, shown(into, v), want)
		return
	}
	d.bounds(p, into, tag)
}

// bounds checks a value against its tags.
func (d *decoder) bounds(p path, v reflect.Value, tag reflect.StructTag) {
	if list := tag.Get("oneof"); list != "" {
		if all := strings.Split(list, "|"); !slices.Contains(all, fmt.Sprint(v.Interface())) {
			d.problem(p, "%s = %s: want one of %s", p, shown(v, v.Interface()), strings.Join(all, ", "))
		}
	}
	least, most := tag.Get("min"), tag.Get("max")
	if least == "" {
		return
	}
	low, high := reflect.New(v.Type()).Elem(), reflect.New(v.Type()).Elem()
	if setText(low, least) != nil || setText(high, most) != nil {
		panic("config: bounds of " + p.String())
	}
	inside := false
	switch {
	case v.CanInt():
		inside = low.Int() <= v.Int() && v.Int() <= high.Int()
	case v.CanUint():
		inside = low.Uint() <= v.Uint() && v.Uint() <= high.Uint()
	default:
		inside = low.Float() <= v.Float() && v.Float() <= high.Float() // and no NaN
	}
	if !inside {
		d.problem(p, "%s = %s: want from %s to %s", p, shown(v, v.Interface()), least, most)
	}
}

// shown returns a value for an error message: shortened, and without secrets.
func shown(into reflect.Value, v any) string {
	if _, secret := into.Addr().Interface().(*Secret); secret {
		return "(secret)"
	}
	text := fmt.Sprint(v)
	switch v.(type) {
	case string:
		text = strconv.Quote(text)
	case map[string]any:
		text = "{…}"
	case []any:
		text = "[…]"
	}
	if runes := []rune(text); len(runes) > 60 {
		text = string(runes[:59]) + "…"
	}
	return text
}

// suggestion returns the most similar key, or the list of all keys.
func suggestion(name string, known []key) string {
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = k.name
	}
	if best := mostSimilar(name, names); best != "" {
		return "did you mean " + best + "?"
	}
	slices.Sort(names)
	return "there are " + strings.Join(names, ", ")
}

// mostSimilar returns the known name that is most similar, "" if none is: one slip in each three bytes of the name, at most two.
func mostSimilar(name string, known []string) (best string) {
	slips := min(2, max(1, len(name)/3)) + 1
	for _, k := range known {
		if n := editDistance(name, k); n < slips && n < len(k) {
			best, slips = k, n
		}
	}
	return best
}

// editDistance returns the number of slips between two names: a byte that is changed, missing or added, or two that are exchanged (the
// Damerau-Levenshtein distance without edits within exchanged bytes).
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			changed := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				changed++
			}
			rows[i][j] = min(changed, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
