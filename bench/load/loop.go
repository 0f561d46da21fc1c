package load

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"tafe/bench/epoll"
)

// loop is one run of a plan. Times are nanoseconds since base.
type loop struct {
	plan   *Plan
	poller *epoll.Poller
	conns  []conn
	free   fifo[*conn]  // open loop: connections without a request
	due    fifo[flight] // open loop: requests without a connection
	again  []*conn      // to be dialed again at the end of the turn
	buf    []byte
	batch  []byte // Depth copies of the request, for pipelining
	mix    *rand.Rand

	base       time.Time
	next       int64 // open loop: when the next request is due
	start, end int64 // the window
	measuring  bool
	stopping   bool
	reached    bool // a connection has been open
	refused    int  // connects in a row that failed
	broken     error

	latency  []*hdrhistogram.Histogram
	late     *hdrhistogram.Histogram
	errors   map[string]int64
	answers  int64 // whole and right, in the window
	ended    int64 // requests, in the window, right or not
	bytes    int64
	cpuStart time.Duration
	res      Result
}

// Run runs a plan on the calling goroutine, which it locks to its thread and, if the plan says so, to a core
// meanwhile. It returns after warm-up and window, plus, in an open loop, the time of the requests in flight, at most the plan's
// Timeout. An error means that there is no result: an invalid plan, or a server that refuses
// connections; errors of single requests are in the result.
func Run(plan Plan) (*Result, error) {
	if plan.Depth == 0 {
		plan.Depth = 1
	}
	if plan.Timeout == 0 {
		plan.Timeout = 10 * time.Second
	}
	if err := plan.check(); err != nil {
		return nil, err
	}
	restore, err := bind(plan.CPU)
	if err != nil {
		return nil, err
	}
	defer restore()
	l, err := newLoop(&plan)
	if err != nil {
		return nil, err
	}
	defer l.closeAll()
	if err := l.run(); err != nil {
		return nil, err
	}
	return &l.res, nil
}

func newLoop(plan *Plan) (*loop, error) {
	poller, err := epoll.New(1024)
	if err != nil {
		return nil, err
	}
	l := &loop{
		plan: plan, poller: poller, conns: make([]conn, plan.Conns), buf: make([]byte, 256<<10),
		mix: rand.New(rand.NewPCG(plan.Seed, 0x7461_6665)), base: time.Now(),
		late: newHistogram(), errors: map[string]int64{},
	}
	for range plan.Requests {
		l.latency = append(l.latency, newHistogram())
	}
	var request *encoded
	if plan.HTTP2 {
		if request, err = encode(&plan.Requests[0]); err != nil {
			_ = poller.Close()
			return nil, err
		}
	}
	for range plan.Depth {
		l.batch = append(l.batch, plan.Requests[0].Raw...)
	}
	for i := range l.conns {
		c := &l.conns[i]
		c.fd, c.index = -1, int32(i)
		c.source = netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i%sourceCount)})
		c.flights = &flights{all: make([]flight, 0, plan.Depth)}
		if plan.HTTP2 {
			c.h2 = &h2conn{request: request, streams: plan.Depth}
			c.flights = &c.h2.flights
		}
	}
	return l, nil
}

func (l *loop) now() int64 { return int64(time.Since(l.base)) }

// turnMax bounds one wait, so that lost requests are noticed.
const turnMax = 50 * time.Millisecond

func (l *loop) run() error {
	for i := range l.conns {
		l.dial(&l.conns[i])
		l.first(&l.conns[i])
	}
	l.start = l.now() + int64(l.plan.Warmup)
	l.end = l.start + int64(l.plan.Window)
	l.next = l.now()
	lastSweep := l.now()
	for {
		now := l.now()
		l.issue(now)
		l.edges(now)
		if l.stopping && l.settled(now) {
			l.finish(now)
			if !l.reached {
				return errRefused
			}
			return nil
		}
		if l.refused > refusedMax {
			return errRefused
		}
		if now-lastSweep > int64(turnMax) {
			l.sweep(now)
			lastSweep = now
		}
		events, err := l.poller.Wait(l.timeout(now))
		if err != nil {
			return err
		}
		for _, e := range events {
			l.serve(&l.conns[e.Token], e.Bits)
		}
		if l.broken != nil {
			return l.broken
		}
		l.redialFailed()
	}
}

// serve handles one readiness report.
func (l *loop) serve(c *conn, bits uint32) {
	if c.fd < 0 {
		return
	}
	if !c.open {
		if bits&(epoll.Out|epoll.Hangup) != 0 {
			l.connected(c)
		}
		return
	}
	if bits&epoll.Out != 0 && len(c.out) > 0 {
		l.write(c)
	}
	if c.fd >= 0 && bits&(epoll.In|epoll.Hangup) != 0 {
		l.read(c)
	}
}

// edges opens and closes the window. An open loop that has closed its window still waits for what is in flight.
func (l *loop) edges(now int64) {
	if !l.measuring && !l.stopping && now >= l.start {
		l.measuring = true
		l.answers, l.bytes, l.ended = 0, 0, 0
		l.start = now
		l.end = now + int64(l.plan.Window)
		if l.plan.AtStart != nil {
			l.plan.AtStart()
		}
		l.cpuStart = threadCPU()
	}
	if l.measuring && (now >= l.end || l.plan.EndedMax > 0 && l.ended >= l.plan.EndedMax) {
		l.end = min(l.end, now)
		cpu := threadCPU() - l.cpuStart
		if l.plan.AtEnd != nil {
			l.plan.AtEnd()
		}
		l.measuring, l.stopping = false, true
		l.res = Result{Window: time.Duration(now - l.start), Answered: l.answers, BytesRead: l.bytes, CPU: cpu}
	}
}

// settled reports that nothing of an open loop's window is in flight any more. A closed loop measures what was answered in
// its window and is settled at once.
func (l *loop) settled(now int64) bool {
	if l.plan.Rate == 0 || now > l.end+int64(l.plan.Timeout) {
		return true
	}
	if l.due.len() > 0 {
		return false
	}
	for i := range l.conns {
		if l.conns[i].flights.len() > 0 {
			return false
		}
	}
	return true
}

func (l *loop) finish(now int64) {
	if l.plan.Rate > 0 {
		l.errors[ErrorUnsent] += int64(l.due.len())
		for l.due.len() > 0 {
			l.record(l.due.pop(), now)
		}
		for i := range l.conns {
			c := &l.conns[i]
			l.errors[ErrorTimeout] += int64(c.flights.len())
			c.flights.each(func(f flight) { l.record(f, now) })
		}
	}
	for class, n := range l.errors {
		if n == 0 {
			delete(l.errors, class)
		}
	}
	l.res.Errors, l.res.Late = l.errors, l.late
	for i, r := range l.plan.Requests {
		l.res.Classes = append(l.res.Classes, Class{Name: r.Name, Latency: l.latency[i]})
	}
}

// issue sends what is due, or queues it while every connection has a request in flight. A loop that is late still issues
// all that was due before the end of the window: omitted requests would hide the latencies that the server caused.
func (l *loop) issue(now int64) {
	if l.plan.Rate == 0 || l.stopping {
		return
	}
	for l.next <= now && l.next < l.end {
		f := flight{due: l.next, class: l.pick()}
		l.next += l.gap()
		c := l.take()
		if c == nil {
			l.due.push(f)
			continue
		}
		if l.inWindow(f.due) {
			_ = l.late.RecordValue(max(now-f.due, latencyMin))
		}
		l.send(c, f.due, f.class)
		l.flush(c)
		l.offer(c)
	}
}

// offer queues a connection that has room for a request.
func (l *loop) offer(c *conn) {
	if c.room() && !c.queued {
		c.queued = true
		l.free.push(c)
	}
}

// take returns the connection that has been free longest, or nil. One that the server closed while it
// was free is still in the queue and left out here.
func (l *loop) take() *conn {
	for l.free.len() > 0 {
		c := l.free.pop()
		c.queued = false
		if c.room() {
			return c
		}
	}
	return nil
}

func (l *loop) gap() int64 {
	mean := 1e9 / l.plan.Rate
	if l.plan.Even {
		return int64(mean)
	}
	return int64(math.Round(l.mix.ExpFloat64() * mean))
}

// pick draws the kind of the next request.
func (l *loop) pick() int32 {
	if len(l.plan.Requests) == 1 {
		return 0
	}
	x := l.mix.Float64()
	for i, r := range l.plan.Requests[1:] {
		if x < r.Share {
			return int32(i + 1)
		}
		x -= r.Share
	}
	return 0
}

// idle gives a connection that has room its next requests.
func (l *loop) idle(c *conn) {
	for c.room() {
		switch {
		case l.plan.Rate == 0 && !l.stopping:
			l.send(c, l.now(), l.pick())
		case l.due.len() > 0:
			f := l.due.pop()
			l.send(c, f.due, f.class)
		default:
			l.offer(c)
			return
		}
	}
}

// send starts one request, or in a pipelined loop a batch, on a connection that has room. Requests of HTTP/2 wait for flush.
func (l *loop) send(c *conn, due int64, class int32) {
	if c.h2 != nil {
		c.h2.open(flight{due: due, class: class})
		return
	}
	for range l.plan.Depth {
		c.flights.push(flight{due: due, class: class})
	}
	c.out = l.plan.Requests[class].Raw
	if l.plan.Depth > 1 {
		c.out = l.batch
	}
	if c.open {
		l.write(c)
	}
}

// answered takes one answer of HTTP/1, to the oldest request.
func (l *loop) answered(c *conn, now int64) {
	f := c.flights.oldest()
	l.ended++
	l.check(*f, c.scan.status, c.scan.bodyBytes, now)
	c.flights.end(f)
}

// check checks and records one answer.
func (l *loop) check(f flight, status int, bodyBytes, now int64) {
	if class := l.plan.Requests[f.class].fault(f, status, bodyBytes); class != "" {
		l.errors[class]++
		return
	}
	l.answers++
	l.record(f, now)
}

// fault returns the class of error of an answer, or "".
func (r *Request) fault(f flight, status int, bodyBytes int64) string {
	switch {
	case f.fault != "":
		return f.fault
	case status != r.Status:
		return ErrorStatus
	case r.BodyBytes >= 0 && bodyBytes != r.BodyBytes:
		return ErrorLength
	case r.Trailers && !f.trailers:
		return ErrorTrailers
	}
	return ""
}

func (l *loop) inWindow(t int64) bool { return t >= l.start && t < l.end }

// record enters a latency. A closed loop enters what is answered in the window, an open loop what was due in it.
func (l *loop) record(f flight, now int64) {
	if l.plan.Rate == 0 && l.measuring || l.plan.Rate > 0 && l.inWindow(f.due) {
		_ = l.latency[f.class].RecordValue(min(max(now-f.due, latencyMin), latencyMax))
	}
}

// timeout is how long the loop may wait: until the next request is due, and never longer than a turn.
func (l *loop) timeout(now int64) time.Duration {
	t := now + int64(turnMax)
	if !l.stopping {
		t = min(t, l.end)
		if !l.measuring {
			t = min(t, l.start)
		}
		if l.plan.Rate > 0 {
			t = min(t, l.next)
		}
	}
	return time.Duration(max(0, t-l.now()))
}

// sweep fails connections whose oldest request is too old.
func (l *loop) sweep(now int64) {
	for i := range l.conns {
		c := &l.conns[i]
		if c.flights.len() > 0 && now-c.flights.oldest().due > int64(l.plan.Timeout) {
			l.fail(c, ErrorTimeout, now)
		}
	}
}

func (l *loop) redialFailed() {
	for len(l.again) > 0 && l.refused <= refusedMax {
		c := l.again[len(l.again)-1]
		l.again = l.again[:len(l.again)-1]
		l.dial(c)
		l.first(c)
	}
}

func (l *loop) closeAll() {
	for i := range l.conns {
		if l.conns[i].fd >= 0 {
			_ = unix.Close(l.conns[i].fd)
		}
	}
	_ = l.poller.Close()
}
