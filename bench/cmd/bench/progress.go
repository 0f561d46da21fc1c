package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// progress is the bar on standard error: one line that is redrawn on a terminal, one line per step otherwise.
type progress struct {
	total, at int
	quiet     bool
	start     time.Time
}

// show draws the bar before the next step.
func (p *progress) show(what string) {
	if p.quiet {
		return
	}
	if p.start.IsZero() {
		p.start = time.Now()
	}
	left := "?"
	if p.at > 0 {
		left = (time.Since(p.start) / time.Duration(p.at) * time.Duration(p.total-p.at)).Round(time.Second).String()
	}
	if !terminal() {
		fmt.Fprintf(os.Stderr, "%3d/%d  %s left  %s\n", p.at+1, p.total, left, what)
		p.at++
		return
	}
	const width = 30
	filled := width * p.at / max(1, p.total)
	fmt.Fprintf(os.Stderr, "\r\033[K[%s%s] %d/%d  %s left  %s", strings.Repeat("#", filled), strings.Repeat(".", width-filled),
		p.at+1, p.total, left, what)
	p.at++
}

func (p *progress) done() {
	if !p.quiet && terminal() {
		fmt.Fprint(os.Stderr, "\r\033[K")
	}
}

func terminal() bool {
	info, err := os.Stderr.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
