package watchdog

// The record of one overrun, as it is logged, listed and stored.

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// Millis is a duration that is written as milliseconds with three decimals.
type Millis time.Duration

// MarshalJSON writes a number.
func (m Millis) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, math.Round(float64(m)/1e3)/1e3, 'f', -1, 64), nil
}

// UnmarshalJSON reads a number.
func (m *Millis) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*m = Millis(f * 1e6)
	return nil
}

func (m Millis) String() string {
	d := time.Duration(m)
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

// Overrun is what is known of one slice whose code ran for longer than its
// budget: all of that time on its loop, or, where the loop was handed over, first
// on it and then beside it.
type Overrun struct {
	ID      uint64    `json:"id"`
	Final   bool      `json:"final"` // false: it is still going on
	Loop    int       `json:"loop"`
	Started time.Time `json:"started"`
	// Held is for how long it held the loop, and Ran for how long its code ran, so far
	// or in all. They differ where the loop was handed over: then it is Released.
	Held     Millis  `json:"held_ms"`
	Ran      Millis  `json:"ran_ms"`
	Released bool    `json:"released"`
	Budget   Millis  `json:"budget_ms"`
	Verdict  Verdict `json:"verdict"`
	Blamed   bool    `json:"blamed"` // false: the cause lies outside the code
	Advice   string  `json:"advice,omitempty"`

	Route       string `json:"route,omitempty"` // the pattern; empty outside of requests
	Method      string `json:"method,omitempty"`
	Path        string `json:"path,omitempty"`
	RequestID   string `json:"request_id,omitempty"`
	Traceparent string `json:"traceparent,omitempty"`
	Remote      string `json:"remote,omitempty"`
	Task        uint64 `json:"task,omitempty"`
	Conn        uint64 `json:"conn,omitempty"`
	// Outside: the loop was held by a callback, not by a task.
	Outside bool `json:"outside,omitempty"`

	// Where the time went. Own is what the code itself used up, computing
	// (Running) or waiting; the rest was taken from it.
	Own     Millis `json:"own_ms"`
	Running Millis `json:"running_ms"`
	Starved Millis `json:"starved_ms,omitempty"`
	Paused  Millis `json:"paused_ms,omitempty"`
	Stopped Millis `json:"stopped_ms,omitempty"`
	Asked   uint64 `json:"yield_if_due_calls,omitempty"`

	Culprit Frame   `json:"culprit"`
	Stack   []Frame `json:"stack,omitempty"` // of the verdict's last sample, innermost first
	Tree    []*Tree `json:"tree,omitempty"`  // all samples
	Key     string  `json:"key,omitempty"`   // the same for the same place in the code
	Samples int     `json:"samples"`

	// How far the watchdog is to be trusted here.
	Lateness  Millis `json:"watchdog_late_ms,omitempty"`
	Capture   Millis `json:"capture_ms,omitempty"`        // what taking the stacks cost
	Discarded int    `json:"samples_discarded,omitempty"` // taken when the slice had just ended

	Victims Toll `json:"victims"`
	// Suppressed: overruns of the same stack since the last report of it.
	Suppressed *Suppressed `json:"suppressed,omitempty"`

	start int64 // loop clock
}

// Suppressed counts what was not reported.
type Suppressed struct {
	Count   int    `json:"count"`
	Held    Millis `json:"held_ms"`
	Ran     Millis `json:"ran_ms"`
	Victims Millis `json:"victim_ms"`
}

// Toll is what an overrun cost others.
type Toll struct {
	Count     int      `json:"count"`
	Total     Millis   `json:"total_ms"`
	Estimated int      `json:"estimated"` // of Count: bytes that waited in a socket
	Worst     []Victim `json:"worst,omitempty"`
	// Waited is how long the victims waited for the loop in all, and Without how
	// long without this overrun: bucket to count.
	Waited  Sparse `json:"waited,omitempty"`
	Without Sparse `json:"without,omitempty"`
	// Open: more victims may follow.
	Open bool `json:"open,omitempty"`
}

// Victim is one task that had to wait.
type Victim struct {
	Task      uint64 `json:"task"`
	Route     string `json:"route,omitempty"`
	RequestID string `json:"request_id,omitempty"`
	Remote    string `json:"remote,omitempty"`
	Delay     Millis `json:"delay_ms"`            // charged to this overrun
	Estimated bool   `json:"estimated,omitempty"` // since when it waited is the kernel's estimate
	start     int64
}

// Line is the overrun in one line of prose.
func (o *Overrun) Line() string {
	who := o.Route
	switch {
	case o.Outside:
		who = "a callback"
	case who == "":
		who = "task " + strconv.FormatUint(o.Task, 10)
	}
	s := who + " held loop " + strconv.Itoa(o.Loop) + " for " + o.Held.String()
	if o.Released {
		s += " and ran for " + o.Ran.String()
	}
	s += ": " + string(o.Verdict)
	if o.Culprit.Func != "" {
		s += " at " + o.Culprit.String()
	}
	if o.Victims.Count > 0 {
		s += ", delayed " + strconv.Itoa(o.Victims.Count) + " by " + o.Victims.Total.String() + " in total"
	}
	return s
}
