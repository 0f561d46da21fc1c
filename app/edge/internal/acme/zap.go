// The log of certmagic, which is zap's, as lines of slog.

package acme

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger returns a logger of zap that writes to log. Levels are one lower, because the Manager logs outcomes itself: what
// certmagic calls an error is a warning here, since an attempt with the next authority or in an hour may succeed.
func zapLogger(log *slog.Logger) *zap.Logger { return zap.New(&bridge{log: log}) }

// RedirectLog makes the lines of certmagic's own logger lines of log: its FileStorage writes by that one to stderr, and takes no other. Call
// it once, before there is a Manager.
func RedirectLog(log *slog.Logger) { *certmagic.Default.Logger = *zapLogger(log) }

// bridge is a zapcore.Core.
type bridge struct {
	log    *slog.Logger
	fields []zapcore.Field
}

func level(of zapcore.Level) slog.Level {
	switch {
	case of >= zapcore.ErrorLevel:
		return slog.LevelWarn
	case of >= zapcore.WarnLevel:
		return slog.LevelInfo
	case of >= zapcore.InfoLevel:
		return slog.LevelDebug
	}
	return slog.LevelDebug - 4 // its debug lines have the headers of each request
}

// Enabled implements zapcore.LevelEnabler.
func (b *bridge) Enabled(of zapcore.Level) bool {
	return b.log.Enabled(context.Background(), level(of))
}

// With implements zapcore.Core.
func (b *bridge) With(fields []zapcore.Field) zapcore.Core {
	return &bridge{log: b.log, fields: append(slices.Clone(b.fields), fields...)}
}

// Check implements zapcore.Core.
func (b *bridge) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return to.AddCore(e, b)
	}
	return to
}

// Write implements zapcore.Core. The fields of certmagic become one value, so that the keys of the log stay those of the server.
func (b *bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	values := zapcore.NewMapObjectEncoder()
	for _, f := range append(slices.Clone(b.fields), fields...) {
		f.AddTo(values)
	}
	var detail strings.Builder
	for _, key := range slices.Sorted(maps.Keys(values.Fields)) {
		fmt.Fprintf(&detail, "%s=%v ", key, values.Fields[key])
	}
	b.log.Log(context.Background(), level(e.Level), "acme: "+e.Message, "detail", strings.TrimSpace(detail.String()))
	return nil
}

// Sync implements zapcore.Core.
func (b *bridge) Sync() error { return nil }
