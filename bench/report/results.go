package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"tafe/bench/run"
)

// Results is everything that one benchmark measured and under which conditions: the content of results.json. Tables
// and plots are drawn from it and from nothing else.
type Results struct {
	Machine  run.Machine  `json:"machine"`
	Setup    Setup        `json:"setup"`
	Peers    []PeerInfo   `json:"peers"`
	Sections []Section    `json:"scenarios"`
	Absent   []string     `json:"left_out,omitempty"`
	Failures []string     `json:"failures,omitempty"`
	Samples  []run.Sample `json:"samples"`
}

// Setup is how the rounds were played.
type Setup struct {
	Rounds        int     `json:"rounds"`
	WindowSeconds float64 `json:"window_seconds"`
	WarmupSeconds float64 `json:"warmup_seconds"`
	ServerCore    int     `json:"server_core"`
	LoadCore      int     `json:"load_core"`
}

// PeerInfo is one server that took part.
type PeerInfo struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Version string `json:"version"`
}

// Section is one scenario as the report heads it.
type Section struct {
	Name     string `json:"name"`
	Number   int    `json:"number"`
	Title    string `json:"title"`
	Question string `json:"question"`
	Method   string `json:"method"`
	Command  string `json:"command"` // that repeats it
}

// Save writes results.json and index.html to dir, which it makes.
func (r *Results) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := r.encode()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), b, 0o644); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "index.html"))
	if err != nil {
		return err
	}
	if err := r.HTML(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("draw the report: %w", err)
	}
	return f.Close()
}

// encode is the content of results.json, with a line for each sample.
func (r *Results) encode() ([]byte, error) {
	head := *r
	head.Samples = nil
	b, err := json.MarshalIndent(head, "", " ")
	if err != nil {
		return nil, err
	}
	b = append(bytes.TrimSuffix(b, []byte("null\n}")), '[')
	for i, s := range r.Samples {
		line, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, '\n'), line...)
	}
	return append(b, "\n]\n}\n"...), nil
}

// Load reads a results.json.
func Load(file string) (*Results, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &Results{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}
