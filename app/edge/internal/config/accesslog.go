// [access_log] and the access logs of sites: their keys, and what lines are made of.

package config

import (
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"tafe/app"
	"tafe/app/middleware"
	"tafe/app/variable"
)

// AccessLog is the section of the same name.
type AccessLog struct {
	// Destination: a file, "-" for stdout, or "off". SIGHUP reopens the file.
	File Path `toml:"file" default:"off" reload:"restart"`
	LogLines
}

// SiteAccessLog is the access log of a site.
type SiteAccessLog struct {
	// Destination: a file, "-" for stdout, or "off". SIGHUP reopens the file. Sites may share a file if all other keys are
	// equal.
	File Path `toml:"file" required:"yes"`
	LogLines
}

// LogLines are the lines of an access log, and the size of its files.
type LogLines struct {
	// Format of a line: a JSON object, or the combined format of Apache and nginx. See fields and line for others.
	Format string `toml:"format" default:"json" oneof:"json|combined" reload:"restart"`
	// Members of a JSON object per line: variables without braces, such as ["time", "status", "header.User-Agent"]. Empty values are
	// omitted.
	Fields []string `toml:"fields" reload:"restart"`
	// Text of a line with variables, such as '{client_ip} "{method} {uri}" {status}'. Values are escaped; "-" stands for empty
	// ones.
	Line string `toml:"line" default:"" reload:"restart"`
	// Fraction, 0.0001 to 1, of the responses with a status below 400 that are logged. Others are always logged.
	Sample float64 `toml:"sample" default:"1" min:"0.0001" max:"1" reload:"restart"`
	// Size from which the file is moved to FILE.TIME and a new one begun. 0: never.
	RotateBytes Bytes `toml:"rotate_bytes" default:"0" min:"0" max:"1TiB" reload:"restart"`
	// Age at which the same is done. 0s: never.
	RotateEvery Duration `toml:"rotate_every" default:"0s" min:"0s" max:"10000h" reload:"restart"`
	// Moved files that are kept; older ones are deleted. 0: all.
	RotateKeep int `toml:"rotate_keep" default:"10" min:"0" max:"100000" reload:"restart"`
	// Size of the queue in front of the file, some 200 bytes per line. Lines beyond it are dropped and counted.
	BufferBytes Bytes `toml:"buffer_bytes" default:"4MiB" min:"64KiB" max:"1GiB" reload:"restart"`
	// Longest time that a line stays in the queue.
	FlushEvery Duration `toml:"flush_every" default:"500ms" min:"1ms" max:"1m" reload:"restart"`
}

// logScope are the variables of access logs.
var logScope = variable.Scope{Use: variable.Log, Phase: variable.End}

// braces removes those around variables: fields are written without them.
var braces = strings.NewReplacer("{", "", "}", "")

// logLines checks an access log.
func (d *decoder) logLines(p path, l *LogLines) {
	if l.Line != "" {
		d.template(p.child("line"), l.Line, logScope)
	}
	for i, name := range l.Fields {
		at := p.child("fields").index(i)
		if _, err := variable.ParseField(name, logScope); err != nil {
			d.problemAt(at, d.inText(at, 0), "%s = %q: %s", at, name, braces.Replace(withSuggestion(err, logScope)))
		}
	}
	formats := 0
	for _, given := range []bool{d.hasKey(p.child("format")), len(l.Fields) > 0, l.Line != ""} {
		if given {
			formats++
		}
	}
	if formats > 1 {
		d.problem(p, "%s has more than one of format, fields and line: want one", p)
	}
}

// siteLogs checks the access logs of sites.
func (d *decoder) siteLogs(c *Config) {
	files := map[Path]int{}
	for i := range c.Sites {
		l, p := c.Sites[i].AccessLog, path{"site"}.index(i).child("access_log")
		if l == nil {
			continue
		}
		d.logLines(p, &l.LogLines)
		first, shared := files[l.File]
		switch {
		case l.File == "off":
		case l.File == c.AccessLog.File:
			d.problem(p.child("file"), "%s = %q is the file of [access_log]: leave the section out to log there", p.child("file"), string(l.File))
		case shared && !reflect.DeepEqual(c.Sites[first].AccessLog, l):
			d.problem(p, "%s: the site in line %d logs to the same file with other keys", p, d.line(path{"site"}.index(first)))
		case !shared:
			files[l.File] = i
		}
	}
}

// Options returns the options of the log, without its own log.
func (l *LogLines) Options() middleware.AccessLogOptions {
	o := middleware.AccessLogOptions{BufferBytes: int(l.BufferBytes), FlushEvery: time.Duration(l.FlushEvery), Sample: l.Sample}
	switch {
	case l.Line != "":
		text, err := variable.Parse(l.Line, logScope)
		if err != nil {
			panic("config: access_log.line was not checked: " + err.Error())
		}
		o.Line = func(b []byte, e *app.Entry) []byte {
			return text.Append(b, variable.Source{Request: e.Context, Entry: e})
		}
	case len(l.Fields) > 0:
		fields := make([]variable.Field, len(l.Fields))
		for i, name := range l.Fields {
			f, err := variable.ParseField(name, logScope)
			if err != nil {
				panic("config: access_log.fields was not checked: " + err.Error())
			}
			fields[i] = f
		}
		o.Line = func(b []byte, e *app.Entry) []byte {
			return variable.AppendJSON(b, fields, variable.Source{Request: e.Context, Entry: e})
		}
	case l.Format == "combined":
		o.Format = middleware.AccessLogCombined
	}
	return o
}

// SiteLog is an open access log of a site.
type SiteLog interface {
	io.Closer
	Record(e *app.Entry)
	Reopen() error // of its file, after it was moved
	Dropped() uint64
}

// siteLog is a SiteLog and its definition.
type siteLog struct {
	definition SiteAccessLog
	SiteLog
}

// siteLog returns the function that logs a response. It is nil after a problem, and where logs are not opened.
func (b *builder) siteLog(p path, l *SiteAccessLog) func(*app.Entry) {
	if l.File == "off" {
		return func(*app.Entry) {}
	}
	if b.config.OpenLog == nil || b.spoilt[p.part()] || len(b.problems) > 0 {
		return nil
	}
	for _, from := range []*Resources{b.resources, b.before} {
		if from == nil {
			continue
		}
		for _, open := range from.logs {
			if reflect.DeepEqual(open.definition, *l) {
				if !slices.Contains(b.resources.logs, open) {
					b.resources.logs = append(b.resources.logs, open)
				}
				return open.Record
			}
		}
	}
	made, err := b.config.OpenLog(l)
	if err != nil {
		b.broken(p.child("file"), "%s: %s", p.child("file"), withoutCall(err))
		return nil
	}
	open := &siteLog{*l, made}
	b.resources.logs = append(b.resources.logs, open)
	return open.Record
}

// Logs returns the access logs of sites.
func (r *Resources) Logs() (all []SiteLog) {
	for _, l := range r.logs {
		all = append(all, l.SiteLog)
	}
	return all
}
