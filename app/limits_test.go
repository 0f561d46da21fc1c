package app

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"tafe/app/internal/http2"
	"tafe/httpparse"
)

// A bound of 0 refuses everything, so a field that one of these places forgets is a server that answers nothing.
func TestEveryLimitHasAValue(t *testing.T) {
	options := Options{}.withDefaults()
	http2Limits := options.http2Limits()
	require.Equal(t, httpparse.DefaultLimits(), options.Limits)
	for _, c := range []struct {
		why    string
		limits any
	}{
		{"the defaults of HTTP/1", httpparse.DefaultLimits()},
		{"Options.withDefaults", options.Limits},
		{"App.ServeHTTP", *unlimited},
		{"the defaults of HTTP/2", http2.DefaultLimits()},
		{"Options.http2Limits", http2Limits},
	} {
		v := reflect.ValueOf(c.limits)
		for i := range v.NumField() {
			require.False(t, v.Field(i).IsZero(), "%s: %s", c.why, v.Type().Field(i).Name)
		}
	}
}
