// Keys that a running server cannot change.

package config

import "reflect"

// NeedRestart returns the keys that differ between c and next and that a running server cannot change, in the order of the
// reference, with their places in the file of next.
func (c *Config) NeedRestart(next *Config) (all Problems) {
	for _, p := range needRestart(nil, reflect.ValueOf(c).Elem(), reflect.ValueOf(next).Elem()) {
		all = append(all, next.source.newProblem(p, next.source.place(p), "%s cannot change while the server runs: restart it, or set the old value", p))
	}
	return all
}

func needRestart(p path, a, b reflect.Value) (changed []path) {
	for _, k := range keys(a.Type()) {
		x, y, at := a.FieldByIndex(k.field.Index), b.FieldByIndex(k.field.Index), p.child(k.name)
		if k.field.Tag.Get("reload") == "restart" {
			if !reflect.DeepEqual(x.Interface(), y.Interface()) {
				changed = append(changed, difference(at, x, y))
			}
			continue
		}
		if _, own := x.Addr().Interface().(value); x.Kind() == reflect.Struct && !own {
			changed = append(changed, needRestart(at, x, y)...)
		}
	}
	return changed
}

// difference returns the first key within p at which a and b differ.
func difference(p path, a, b reflect.Value) path {
	switch {
	case a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil():
		return difference(p, a.Elem(), b.Elem())
	case a.Kind() == reflect.Slice:
		for i := range min(a.Len(), b.Len()) {
			if !reflect.DeepEqual(a.Index(i).Interface(), b.Index(i).Interface()) {
				return difference(p.index(i), a.Index(i), b.Index(i))
			}
		}
		if b.Len() > a.Len() {
			return p.index(a.Len())
		}
	case a.Kind() == reflect.Struct && !ownValue(a.Type()):
		for _, k := range keys(a.Type()) {
			if x, y := a.FieldByIndex(k.field.Index), b.FieldByIndex(k.field.Index); !reflect.DeepEqual(x.Interface(), y.Interface()) {
				return difference(p.child(k.name), x, y)
			}
		}
	}
	return p
}
