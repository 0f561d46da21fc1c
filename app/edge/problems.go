// Parts of the configuration that cannot be used: the list of them, and their log lines.

package edge

import (
	"slices"

	"tafe/app/edge/internal/config"
)

// problems returns the parts of the configuration that cannot be used now, of routes and listeners.
func (e *edge) problems() (all []string) {
	var problems config.Problems
	if r := e.shown.Load(); r != nil {
		problems = append(problems, r.Broken()...)
	}
	for _, s := range e.certs {
		problems = append(problems, s.Problems()...)
	}
	for _, p := range problems {
		if text := p.Error(); !slices.Contains(all, text) { // each listener reports the certificates of sites
			all = append(all, text)
		}
	}
	return append(all, e.acmeProblems()...)
}

func (e *edge) logProblems() {
	for _, p := range e.problems() {
		e.logProblem(p)
	}
}

func (e *edge) logEach(problems config.Problems) {
	for _, p := range problems {
		e.logProblem(p.Error())
	}
}

func (e *edge) logWarnings() {
	for _, w := range e.settings.Warnings() {
		e.log.Warn("configuration warning", "detail", w.Error())
	}
}

func (e *edge) logProblem(text string) {
	e.log.Error("a part of the configuration cannot be used: the others are served", "detail", text)
}
