// The findings of several packages: what go vet -json prints, and the baseline, a file with the findings that a project accepts.

package blockcheck

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// Finding is one diagnostic of Analyzer.
type Finding struct {
	File     string // absolute
	Position string // line and column
	Message  string
}

// Read reads the output of go vet -json. A finding that a package and its test variant have in common is returned once. The findings are
// in the order of files and lines.
func Read(r io.Reader) ([]Finding, error) {
	found := map[Finding]bool{}
	plain, err := withoutComments(r)
	if err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(strings.NewReader(plain)); ; {
		var packages map[string]map[string]json.RawMessage
		err := decoder.Decode(&packages)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("the output of go vet: %w", err)
		}
		for name, analyzers := range packages {
			if err := addFindings(found, analyzers[Analyzer.Name]); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	all := make([]Finding, 0, len(found))
	for f := range found {
		all = append(all, f)
	}
	slices.SortFunc(all, compareFindings)
	return all, nil
}

// addFindings adds those of one package: a list, or an object with the error of the analyzer.
func addFindings(found map[Finding]bool, text json.RawMessage) error {
	if len(text) == 0 {
		return nil
	}
	var failed struct{ Error string }
	if json.Unmarshal(text, &failed) == nil && failed.Error != "" {
		return errors.New(failed.Error)
	}
	var list []struct{ Posn, Message string }
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("the output of go vet: %w", err)
	}
	for _, d := range list {
		file, position := d.Posn, ""
		for range 2 {
			if at := strings.LastIndexByte(file, ':'); at > 0 {
				file, position = file[:at], file[at:]+position
			}
		}
		found[Finding{file, strings.TrimPrefix(position, ":"), d.Message}] = true
	}
	return nil
}

// withoutComments returns the output without the lines "# package".
func withoutComments(r io.Reader) (string, error) {
	var plain strings.Builder
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if !strings.HasPrefix(line, "#") {
			plain.WriteString(line)
		}
		if errors.Is(err, io.EOF) {
			return plain.String(), nil
		}
		if err != nil {
			return "", err
		}
	}
}

func compareFindings(a, b Finding) int {
	var lineA, columnA, lineB, columnB int
	_, _ = fmt.Sscanf(a.Position, "%d:%d", &lineA, &columnA)
	_, _ = fmt.Sscanf(b.Position, "%d:%d", &lineB, &columnB)
	switch {
	case a.File != b.File:
		return strings.Compare(a.File, b.File)
	case lineA != lineB:
		return lineA - lineB
	case columnA != columnB:
		return columnA - columnB
	}
	return strings.Compare(a.Message, b.Message)
}

// entry returns the finding as a line of the baseline in dir. It has no line number, so that edits elsewhere in the file do not change it.
func (f *Finding) entry(dir string) string {
	file := f.File
	if relative, err := filepath.Rel(dir, file); err == nil {
		file = filepath.ToSlash(relative)
	}
	return file + ": " + f.Message
}

// Baseline counts findings that are accepted, by their entries. Its paths are relative to Dir.
type Baseline struct {
	Dir     string
	entries map[string]int
}

// ReadBaseline reads a baseline. Empty lines and lines that begin with # are skipped.
func ReadBaseline(r io.Reader, dir string) (*Baseline, error) {
	b := &Baseline{Dir: dir, entries: map[string]int{}}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if !strings.Contains(line, ": ") {
			return nil, fmt.Errorf("line %d: %q is not a file and a finding", n, line)
		}
		b.entries[line]++
	}
	return b, lines.Err()
}

// News returns the findings that the baseline does not have, and the number of its entries that were not found.
func (b *Baseline) News(all []Finding) (news []Finding, stale int) {
	left := map[string]int{}
	for entry, n := range b.entries {
		left[entry] = n
		stale += n
	}
	for _, f := range all {
		if entry := f.entry(b.Dir); left[entry] > 0 {
			left[entry]--
			stale--
			continue
		}
		news = append(news, f)
	}
	return news, stale
}

// WriteBaseline writes a baseline in dir with all findings, sorted, so that two versions can be compared line by line.
func WriteBaseline(w io.Writer, dir string, all []Finding) error {
	text := []string{"# Findings of tafe vet that are accepted: tafe vet -baseline FILE -update writes this file."}
	for i := range all {
		text = append(text, all[i].entry(dir))
	}
	slices.Sort(text[1:])
	_, err := io.WriteString(w, strings.Join(text, "\n")+"\n")
	return err
}
