package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"text/tabwriter"
	"time"

	"tafe/bench/load"
	"tafe/bench/report"
	"tafe/bench/run"
	"tafe/bench/scenario"
)

// generator is a load generator: ours, or another one for checking it.
type generator struct {
	name    string
	install string
	http2   bool
	argv    func(url string, seconds int) []string
	rate    *regexp.Regexp // its first group: answers per second
}

// The load of all generators: as many connections over HTTP/1.1, and connections of as many streams over HTTP/2.
const agreeConns, agreeConns2, agreeStreams = 64, 16, 10

var h2loadRate = regexp.MustCompile(`finished in [^,]+, ([0-9.]+) req/s`)

var generators = []generator{
	{name: "bench"},
	{"wrk", "apt-get install wrk", false, func(url string, seconds int) []string {
		return []string{"wrk", "-t1", "-c" + strconv.Itoa(agreeConns), "-d" + strconv.Itoa(seconds) + "s", url}
	}, regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)},
	{"h2load", "apt-get install nghttp2-client", false, func(url string, seconds int) []string {
		return []string{"h2load", "--h1", "-t1", "-c" + strconv.Itoa(agreeConns), "-D" + strconv.Itoa(seconds), url}
	}, h2loadRate},
	{name: "bench", http2: true},
	{"h2load", "apt-get install nghttp2-client", true, func(url string, seconds int) []string {
		return []string{"h2load", "-t1", "-c" + strconv.Itoa(agreeConns2), "-m" + strconv.Itoa(agreeStreams), "-D" + strconv.Itoa(seconds), url}
	}, h2loadRate},
}

// protocol names the protocol that the generator speaks.
func (g generator) protocol() string {
	if g.http2 {
		return "HTTP/2"
	}
	return "HTTP/1.1"
}

// agreePeers are servers that are slow enough for any generator, and one of HTTP/1.1 that is faster than all of them.
var agreePeers = []string{"nethttp", "fasthttp", "climit", "tafe", "nginx"}

// speaks reports whether the generators of a protocol ask the peer.
func speaks(name string, http2 bool) bool {
	if http2 {
		return name == "nethttp" || name == "tafe" || name == "nginx"
	}
	return name == "nethttp" || name == "fasthttp" || name == "climit"
}

// agree prints the measurements of our generator and others for the same servers, in turns. CPU time per request and rate
// must not depend on the generator while the server is the bottleneck. Over HTTP/2 a slower generator makes requests cost more: fewer of them come at once.
func agree(args []string) error {
	set := settings{scenarios: "http2", peers: "tafe,nethttp,nginx", rounds: 5, seconds: 2, warmup: 0.2, loadCore: 1}
	if len(args) > 0 {
		fmt.Fprintln(os.Stderr, "usage: bench agree")
		return errUsage
	}
	s, err := newSession(set)
	if err != nil {
		return err
	}
	if err := build(s.bench.Root, agreePeers, nil); err != nil {
		return err
	}
	type figures struct{ rates, cpus []float64 }
	found := map[string]*figures{}
	key := func(peer string, by generator) string { return peer + " " + by.name + " " + by.protocol() }
	for range set.rounds {
		for _, by := range generators {
			if _, err := exec.LookPath(by.name); by.argv != nil && err != nil {
				continue
			}
			for _, name := range agreePeers {
				p, _ := run.Find(name)
				if !speaks(name, by.http2) || p.Missing(s.bench.Root) != "" {
					continue
				}
				rate, cpu, err := ask(&s.bench, p, by, int(set.seconds))
				if err != nil {
					return err
				}
				f := found[key(name, by)]
				if f == nil {
					f = &figures{}
					found[key(name, by)] = f
				}
				f.rates, f.cpus = append(f.rates, rate), append(f.cpus, cpu)
			}
		}
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "server\tprotocol\tgenerator\tanswers/s\t(least-most)\tserver CPU us/request\t(least-most)\t")
	for _, http2 := range []bool{false, true} {
		for _, name := range agreePeers {
			for _, by := range generators {
				if f := found[key(name, by)]; f != nil && by.http2 == http2 {
					r, c := report.SpreadOf(f.rates), report.SpreadOf(f.cpus)
					fmt.Fprintf(t, "%s\t%s\t%s\t%.0f\t(%.0f-%.0f)\t%.2f\t(%.2f-%.2f)\t\n", name, by.protocol(), by.name,
						r.Median, r.Min, r.Max, c.Median, c.Min, c.Max)
				}
			}
		}
	}
	return t.Flush()
}

// ask loads one peer with one generator for some seconds, from the first connect to the last response.
func ask(b *run.Bench, p run.Peer, by generator, seconds int) (rate, cpuMicros float64, err error) {
	used, err := b.Against(p, by.http2, func(set run.Setting) error {
		if by.argv == nil {
			plan := load.Plan{Addr: set.Listen, Conns: agreeConns, Window: time.Duration(seconds) * time.Second, CPU: b.Cores.Load, Requests: scenario.Short()}
			if by.http2 {
				plan.HTTP2, plan.Conns, plan.Depth, plan.Requests = true, agreeConns2, agreeStreams, scenario.Short2()
			}
			res, err := load.Run(plan)
			if err == nil {
				rate = res.Throughput()
			}
			return err
		}
		out, err := run.Output(by.argv("http://"+set.Listen.String()+"/plaintext", seconds), b.Cores.Load,
			time.Duration(seconds+10)*time.Second)
		if err != nil {
			return err
		}
		m := by.rate.FindStringSubmatch(out)
		if m == nil {
			return fmt.Errorf("%s printed no rate: %s", by.name, out)
		}
		rate, err = strconv.ParseFloat(m[1], 64)
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("%s asks %s: %w", by.name, p.Name, err)
	}
	return rate, float64(used.Microseconds()) / (rate * float64(seconds)), nil
}
