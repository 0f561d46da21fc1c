// The record of one overrun, as it is logged, listed and stored.

package watchdog

import (
	"encoding/json"
	"math"
	"strconv"
	"time"

	"tafe/loop"
)

// Millis is a duration that JSON shows in milliseconds with three decimals.
type Millis time.Duration

// MarshalJSON implements json.Marshaler.
func (m Millis) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, math.Round(float64(m)/1e3)/1e3, 'f', -1, 64), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Millis) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*m = Millis(f * 1e6)
	return nil
}

// String formats m like a time.Duration, with about three digits.
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

// Overrun describes a slice whose code ran for longer than its budget. The code ran on its loop all
// the time or, after a handoff, first on it and then beside it.
type Overrun struct {
	ID      uint64    `json:"id"`
	Final   bool      `json:"final"` // false while the overrun lasts
	Loop    int       `json:"loop"`
	Started time.Time `json:"started"`
	// Held is the time on the loop, and Ran the total. They grow while the overrun lasts. They
	// differ only after a handoff, which ends Held and sets Released.
	Held     Millis  `json:"held_ms"`
	Ran      Millis  `json:"ran_ms"`
	Released bool    `json:"released"`
	Budget   Millis  `json:"budget_ms"`
	Verdict  Verdict `json:"verdict"`
	Blamed   bool    `json:"blamed"` // false if the cause lies outside the code or is unknown
	Advice   string  `json:"advice,omitempty"`

	Route       string `json:"route,omitempty"` // pattern; empty outside requests
	Method      string `json:"method,omitempty"`
	Path        string `json:"path,omitempty"`
	RequestID   string `json:"request_id,omitempty"`
	Traceparent string `json:"traceparent,omitempty"`
	Remote      string `json:"remote,omitempty"`
	Task        uint64 `json:"task,omitempty"`
	Conn        uint64 `json:"conn,omitempty"`
	// Callback is set if a callback held the loop, not a task.
	Callback bool `json:"callback,omitempty"`

	// How the time was spent. Own is the time that the code itself used, computing or
	// waiting; the other causes lie outside the code.
	Own     Millis `json:"own_ms"`
	Running Millis `json:"running_ms"`                   // part of Own: computing
	Starved Millis `json:"starved_ms,omitempty"`         // ready, but without a CPU
	Paused  Millis `json:"paused_ms,omitempty"`          // garbage collection and other runtime pauses
	Stopped Millis `json:"stopped_ms,omitempty"`         // the watchdog did not run either
	Asked   uint64 `json:"yield_if_due_calls,omitempty"` // calls of Task.YieldIfDue

	Culprit Frame   `json:"culprit"`         // the innermost frame of the program's own code
	Stack   []Frame `json:"stack,omitempty"` // last sample of the verdict, innermost first
	Tree    []*Tree `json:"tree,omitempty"`  // all samples, merged
	Key     string  `json:"key,omitempty"`   // equal for the same place in the code
	// EndedBy is what ended the last wait, if Config.Wakers is set and it was found.
	EndedBy *Unblocker `json:"ended_by,omitempty"`
	Samples int        `json:"samples"`

	// Quality of the measurement.
	Lateness  Millis `json:"watchdog_late_ms,omitempty"`  // largest delay of the sampler
	Capture   Millis `json:"capture_ms,omitempty"`        // time spent on taking stacks
	Discarded int    `json:"samples_discarded,omitempty"` // stacks taken after the slice had ended

	Victims Tally `json:"victims"`
	// Suppressed counts unreported overruns of the same stack since its last report.
	Suppressed *Suppressed `json:"suppressed,omitempty"`

	start int64 // loop clock
}

// Suppressed counts overruns that were not reported.
type Suppressed struct {
	Count   int    `json:"count"`
	Held    Millis `json:"held_ms"`
	Ran     Millis `json:"ran_ms"`
	Victims Millis `json:"victim_ms"`
}

// Tally is the delay that an overrun caused to other tasks.
type Tally struct {
	Count int    `json:"count"`
	Total Millis `json:"total_ms"`
	// Estimated is the part of Count whose bytes waited in a socket. While an overrun lasts without
	// a handoff, all are estimated.
	Estimated int      `json:"estimated"`
	Worst     []Victim `json:"worst,omitempty"`
	// Waited is the distribution of the victims' whole waits for the loop, and Without
	// that of the waits less the delay by this overrun.
	Waited  Sparse `json:"waited,omitempty"`
	Without Sparse `json:"without,omitempty"`
	// Open is set while more victims may follow.
	Open bool `json:"open,omitempty"`
}

// Victim is one task that was delayed.
type Victim struct {
	Task      uint64 `json:"task"`
	Route     string `json:"route,omitempty"`
	RequestID string `json:"request_id,omitempty"`
	Remote    string `json:"remote,omitempty"`
	Delay     Millis `json:"delay_ms"`            // caused by this overrun
	Estimated bool   `json:"estimated,omitempty"` // the start of the wait is the kernel's estimate
	start     int64
}

// Line describes the overrun in one line.
func (o *Overrun) Line() string {
	who := o.Route
	switch {
	case o.Callback:
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

// String returns the victim's route, request id and delay.
func (v Victim) String() string {
	who := v.Route
	if v.RequestID != "" {
		who += " " + v.RequestID
	}
	return who + " +" + v.Delay.String()
}

// describe sets the fields that identify the request.
func (o *Overrun) describe(d loop.Description) {
	o.Task, o.Route, o.Method, o.Path, o.RequestID = d.TaskID, d.Route, d.Method, d.Path, d.RequestID
	o.Traceparent, o.Conn, o.Remote = d.Traceparent, d.ConnID, d.Remote
}
