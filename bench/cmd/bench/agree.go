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

// foreign is another load generator, for checking ours.
type foreign struct {
	name    string
	install string
	argv    func(url string, conns, seconds int) []string
	rate    *regexp.Regexp // its first group: answers per second
}

var foreigns = []foreign{
	{"wrk", "apt-get install wrk", func(url string, conns, seconds int) []string {
		return []string{"wrk", "-t1", "-c" + strconv.Itoa(conns), "-d" + strconv.Itoa(seconds) + "s", url}
	}, regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)},
	{"h2load", "apt-get install nghttp2-client", func(url string, conns, seconds int) []string {
		return []string{"h2load", "--h1", "-t1", "-c" + strconv.Itoa(conns), "-D" + strconv.Itoa(seconds), url}
	}, regexp.MustCompile(`finished in [^,]+, ([0-9.]+) req/s`)},
}

// agreePeers are servers that are slow enough for any generator, and one that is faster than all of them.
var agreePeers = []string{"nethttp", "fasthttp", "climit"}

// agree prints the measurements of our generator and others for the same servers, in turns. CPU time per request and rate
// must not depend on the generator while the server is the bottleneck.
func agree(args []string) error {
	set := settings{scenarios: "plaintext", peers: "nethttp,fasthttp,climit", rounds: 5, seconds: 2, warmup: 0.2}
	if len(args) > 0 {
		fmt.Fprintln(os.Stderr, "usage: bench agree")
		return errUsage
	}
	s, err := newSession(set)
	if err != nil {
		return err
	}
	type figures struct{ rates, cpus []float64 }
	found := map[string]*figures{}
	for range set.rounds {
		for _, name := range agreePeers {
			p, _ := run.Find(name)
			if p.Missing(s.bench.Root) != "" {
				continue
			}
			for _, by := range generators() {
				rate, cpu, err := ask(&s.bench, p, by, int(set.seconds))
				if err != nil {
					return err
				}
				key := name + " " + by.name
				if found[key] == nil {
					found[key] = &figures{}
				}
				found[key].rates = append(found[key].rates, rate)
				found[key].cpus = append(found[key].cpus, cpu)
			}
		}
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "server\tgenerator\tanswers/s\t(least-most)\tserver CPU us/request\t(least-most)\t")
	for _, name := range agreePeers {
		for _, by := range generators() {
			if f := found[name+" "+by.name]; f != nil {
				r, c := report.SpreadOf(f.rates), report.SpreadOf(f.cpus)
				fmt.Fprintf(t, "%s\t%s\t%.0f\t(%.0f-%.0f)\t%.2f\t(%.2f-%.2f)\t\n", name, by.name, r.Median, r.Min, r.Max, c.Median, c.Min, c.Max)
			}
		}
	}
	return t.Flush()
}

// generators are ours and those that are installed.
func generators() []foreign {
	all := []foreign{{name: "bench"}}
	for _, f := range foreigns {
		if _, err := exec.LookPath(f.name); err == nil {
			all = append(all, f)
		}
	}
	return all
}

const agreeConns = 64

// ask loads one peer with one generator for some seconds, from the first connect to the last response.
func ask(b *run.Bench, p run.Peer, by foreign, seconds int) (rate, cpuMicros float64, err error) {
	used, err := b.Against(p, func(set run.Setting) error {
		if by.argv == nil {
			res, err := load.Run(load.Plan{Addr: set.Listen, Conns: agreeConns, Window: time.Duration(seconds) * time.Second,
				CPU: b.Cores.Load, Requests: scenario.Short()})
			if err == nil {
				rate = res.Throughput()
			}
			return err
		}
		out, err := run.Output(by.argv("http://"+set.Listen.String()+"/plaintext", agreeConns, seconds), b.Cores.Load,
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
