// Package watch shows a running server's loops in a terminal: what each is doing, what held them, and which requests waited. It reads
// the event stream of the live page and writes text with a few ANSI sequences, so that it works over ssh.
package watch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"tafe/app/admin"
	"tafe/loop/watchdog"
)

const (
	frameMax   = 8 << 20 // bytes
	retry      = time.Second
	clear      = "\x1b[H\x1b[2J"
	bold       = "\x1b[1m"
	red        = "\x1b[31m"
	faint      = "\x1b[2m"
	plain      = "\x1b[0m"
	rowsMax    = 12
	widthLeast = 60
)

// Options are the parameters of Run.
type Options struct {
	Addr  string // of the admin listener
	Width int    // columns of the terminal
	Once  bool   // one frame, without clearing the screen
	Color bool
}

// Run shows frames until ctx ends. It reconnects when the server goes away. With Once it returns after the first frame, or with
// an error if there is none.
func Run(ctx context.Context, o Options, out io.Writer) error {
	o.Width = max(o.Width, widthLeast)
	for {
		err := follow(ctx, o, out)
		if o.Once || ctx.Err() != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		fmt.Fprintf(out, "%s%s is not answering: %v\n", clear, o.Addr, err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retry):
		}
	}
}

// follow reads frames from one connection.
func follow(ctx context.Context, o Options, out io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.Addr+"/events", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("no tafe admin listener answers at %s: %w", o.Addr, errors.Unwrap(err))
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the server at %s is not a tafe admin listener: GET /events: %s", o.Addr, answer.Status)
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, frameMax)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var f admin.Frame
		if err := json.Unmarshal([]byte(data), &f); err != nil {
			return fmt.Errorf("the server at %s is not a tafe admin listener: GET /events: an event is no frame: %w", o.Addr, err)
		}
		screen := Draw(&f, o)
		if !o.Once {
			screen = clear + screen
		}
		if _, err := io.WriteString(out, screen); err != nil || o.Once {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}

// Draw returns the text of one frame.
func Draw(f *admin.Frame, o Options) string {
	p := &painter{width: max(o.Width, widthLeast), color: o.Color}
	status := f.Status
	if !f.Watchdog {
		status += ", no watchdog"
	}
	p.line(bold, "tafe %s  %s  up %v  budget %v", o.Addr, status, (time.Duration(f.Uptime) * time.Second).String(), f.Budget)
	p.line("", "%.0f req/s  %.1f errors/s  p50 %v  p99 %v  lag p50 %v  p99 %v  %d conns  %d active",
		f.Rate, f.Failures, f.P50, f.P99, f.Lag50, f.Lag99, f.Conns, f.Active)
	p.line("", "")
	for i := range f.Loops {
		p.loopLine(&f.Loops[i])
	}
	if len(f.Loops) > 0 {
		for _, text := range legend {
			p.line(faint, "%s", text)
		}
	}
	p.culprits(f.Culprits)
	p.overruns(f.Overruns, f.At)
	return p.b.String()
}

// legend explains the columns of a loop, in lines that fit the narrowest terminal.
var legend = []string{
	"0-9 tenths of a half second that the loop was busy, newest",
	"on the right; x held beyond the budget; . not known yet",
}

type painter struct {
	b     strings.Builder
	width int
	color bool
}

// line writes one line, truncated to the width.
func (p *painter) line(style, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if utf8.RuneCountInString(text) > p.width {
		text = string([]rune(text)[:p.width-1]) + "…"
	}
	if style != "" && p.color {
		text = style + text + plain
	}
	p.b.WriteString(text)
	p.b.WriteByte('\n')
}

func (p *painter) loopLine(l *admin.LoopRow) {
	style, what := "", l.State
	if l.Route != "" {
		what += " " + l.Method + " " + l.Route
	} else if l.Callback {
		what += " (a callback)"
	}
	if l.For > 0 {
		what += " for " + l.For.String()
	}
	if l.State == "overrun" {
		style = red
	}
	columns := l.Columns
	if room := p.width / 3; len(columns) > room {
		columns = columns[len(columns)-room:]
	}
	beside := ""
	if l.Handoffs > 0 {
		beside = fmt.Sprintf("%d handoffs, %d released  ", l.Handoffs, l.Released)
	}
	p.line(style, "loop %-2d %s %5d conns %4d queued  %s%s", l.Loop, columns, l.Conns, l.Queued, beside, what)
}

func (p *painter) culprits(all []admin.Culprit) {
	p.line("", "")
	if len(all) == 0 {
		p.line(faint, "No code has run for longer than its budget.")
		return
	}
	p.line(bold, "%11s %8s %6s %10s %10s  %-11s %s", "VICTIM TIME", "VICTIMS", "COUNT", "HELD", "RAN", "VERDICT", "PLACE")
	for i := range all[:min(len(all), rowsMax)] {
		c := &all[i]
		style, live := "", ""
		if c.Live {
			style, live = red, "NOW for "+c.LiveFor.String()+" "
		}
		p.line(style, "%11v %8d %6d %10v %10v  %-11s %s%s  %s", c.Cost, c.Victims, c.Overruns, c.Held, c.Ran, c.Verdict, live, c.Place, c.Route)
	}
}

func (p *painter) overruns(all []admin.OverrunRow, now time.Time) {
	if len(all) == 0 {
		return
	}
	all = slices.Clone(all) // those that are going on are listed first
	slices.SortStableFunc(all, func(a, b admin.OverrunRow) int { return b.Started.Compare(a.Started) })
	p.line("", "")
	p.line(bold, "%8s %4s %10s %10s  %-13s %8s %11s  %s", "AGO", "LOOP", "HELD", "RAN", "VERDICT", "VICTIMS", "VICTIM TIME", "REQUEST")
	for i := range all[:min(len(all), rowsMax)] {
		o := &all[i]
		style := ""
		switch {
		case !o.Final:
			style = red
		case !o.Blamed:
			style = faint
		}
		ago := watchdog.Millis(now.Sub(o.Started).Round(time.Second))
		p.line(style, "%8v %4d %10v %10v  %-13s %8d %11v  %s %s", ago, o.Loop, o.Held, o.Ran, o.Verdict, o.Victims, o.Cost, o.Method, o.Path)
	}
}
