// Keys that a running server cannot change.

package config

import "reflect"

// NeedRestart returns the keys that differ between c and next and that a running server cannot change, in the order of the
// reference.
func (c *Config) NeedRestart(next *Config) []string {
	return needRestart(nil, reflect.ValueOf(c).Elem(), reflect.ValueOf(next).Elem())
}

func needRestart(p path, a, b reflect.Value) (names []string) {
	for _, k := range keys(a.Type()) {
		x, y := a.FieldByIndex(k.field.Index), b.FieldByIndex(k.field.Index)
		if k.field.Tag.Get("reload") == "restart" {
			if !reflect.DeepEqual(x.Interface(), y.Interface()) {
				names = append(names, p.child(k.name).String())
			}
			continue
		}
		if _, own := x.Addr().Interface().(value); x.Kind() == reflect.Struct && !own {
			names = append(names, needRestart(p.child(k.name), x, y)...)
		}
	}
	return names
}
