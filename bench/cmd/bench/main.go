// Command bench measures tafe beside other servers on this machine.
//
//	bench quick      tafe beside net/http, at most five minutes: make bench
//	bench all        every server and every scenario, with plots: make bench-all
//	bench report F   redraws index.html from F/results.json
//	bench show F     prints its table
//	bench agree      checks the load generator against wrk and h2load
//	bench compare    the cost of the watchdog, or of one server over another, to fractions of a percent
//	bench run --scenario plaintext --peers tafe,gnet,fasthttp,nethttp,climit --rounds 5 --seconds 3
//
// Run it in the bench folder. It builds what it needs into bin/, restarts every server for each round, bound to one
// core with the generator on the other, and takes the peers in turn.
package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

var commands = map[string]func(args []string) error{
	"run": runChosen, "quick": runQuick, "all": runAll, "report": redraw, "show": show, "agree": agree,
	"compare": compare,
}

// errUsage is a mistake on the command line, already explained.
var errUsage = errors.New("usage")

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: bench quick|all|run [flags], bench compare [flags], bench report|show FOLDER, bench agree; bench run --help lists the flags")
		os.Exit(2)
	}
	raiseLimit()
	err := commands[os.Args[1]](os.Args[2:])
	switch {
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// raiseLimit raises the limit on descriptors as far as it may be, for the servers too: the Go runtime does so for this process alone.
func raiseLimit() {
	var lim syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim) == nil {
		lim.Cur = lim.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim)
	}
}
