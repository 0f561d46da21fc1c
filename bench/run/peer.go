package run

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Peer is one server that takes part.
type Peer struct {
	Name string
	// About describes its configuration in one line.
	About string
	// Command returns the arguments and additional environment to start it; it may write files to Setting.Dir.
	Command func(Setting) (argv, env []string, err error)
	// Program is what must be installed or built for it; a name without a slash is looked for in PATH, one that starts
	// with bin/ below the bench folder, and another in the file system.
	Program string
	// Install is the line that installs the program.
	Install string
	// Version prints the version: a command, of which the first line counts. Empty means the module version that the
	// peer binary was built with, under Module.
	Version []string
	Module  string
	// Settle is how much longer than others it is warmed up: interpreters import and start threads at their first requests.
	Settle time.Duration
}

// Missing returns the line that installs the peer, or "" if it is installed.
func (p Peer) Missing(root string) string {
	if strings.HasPrefix(p.Program, "bin/") {
		if _, err := os.Stat(filepath.Join(root, p.Program)); err != nil {
			return p.Install
		}
		return ""
	}
	if strings.HasPrefix(p.Program, "/") {
		if _, err := os.Stat(p.Program); err != nil {
			return p.Install
		}
		return ""
	}
	if _, err := exec.LookPath(p.Program); err != nil {
		return p.Install
	}
	return ""
}

func goPeer(name, module, about string) Peer {
	return Peer{
		Name: name, About: about, Program: "bin/peer", Install: "go build -o bin/peer ./peers", Module: module,
		Command: func(s Setting) ([]string, []string, error) {
			return []string{s.Bin("peer"), name, "--listen", s.Listen.String(), "--backend", s.Backend.String(),
				"--rounds", strconv.Itoa(s.Rounds)}, nil, nil
		},
	}
}

// tafeServe is the binary as its users run it.
var tafeServe = Peer{
	Name: "tafe", About: "the binary, one loop, watchdog on", Program: "bin/tafe", Install: "make build", Version: []string{"bin/tafe", "version"},
	Command: func(s Setting) ([]string, []string, error) {
		if s.Role == RoleWork || s.Role == RoleCast {
			return tafeWork(s, "inline"), nil, nil
		}
		argv := append([]string{s.Bin("tafe"), "serve", "--admin", s.Admin.String(), "--loops", "1"}, s.Extra...)
		if s.Role != RoleTLS {
			argv = append(argv, "--listen", s.Listen.String())
		}
		if text := tafeConfig(s); text != "" {
			file := filepath.Join(s.Dir, "tafe.toml")
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				return nil, nil, err
			}
			argv = append(argv, "--config", file)
		}
		return argv, nil, nil
	},
}

// tafeConfig is the configuration for roles that the embedded demo does not have.
func tafeConfig(s Setting) string {
	switch s.Role {
	case RoleProxy:
		return fmt.Sprintf("[[upstream]]\nname = \"u\"\nservers = [{ addr = %q }]\n[[route]]\npath = \"/{path...}\"\nproxy = { upstream = \"u\" }\n", s.Backend)
	case RoleCalls, RoleCalls1:
		proto := map[Role]string{RoleCalls: "h2c", RoleCalls1: "http/1.1"}[s.Role]
		return fmt.Sprintf("[[upstream]]\nname = \"u\"\nproto = %q\nservers = [{ addr = %q }]\n[[route]]\npath = \"/{path...}\"\nproxy = { upstream = \"u\" }\n", proto, s.Backend)
	case RoleStatic:
		return fmt.Sprintf("[[route]]\npath = \"/{path...}\"\nstatic = { dir = %q }\n", s.Files)
	case RoleTLS:
		return fmt.Sprintf("[[listener]]\nlisten = %q\n[listener.tls]\ncerts = [{ cert = %q, key = %q }]\n"+
			"[[route]]\npath = \"/plaintext\"\nrespond = { body = \"Hello, World!\" }\n", s.Listen, s.Cert, s.Key)
	}
	return ""
}

// tafeWork starts the handlers /work and /hold, which the binary does not have, on the same packages.
func tafeWork(s Setting, hold string) []string {
	return append([]string{s.Bin("peer-tafe"), "--listen", s.Listen.String(), "--backend", s.Backend.String(),
		"--rounds", strconv.Itoa(s.Rounds), "--hold", hold}, s.Extra...)
}

// tafeFlags is the binary with other flags.
func tafeFlags(name, about string, flags ...string) Peer {
	p := tafeServe
	p.Name, p.About = name, about
	p.Command = func(s Setting) ([]string, []string, error) {
		argv, env, err := tafeServe.Command(s)
		return append(argv, flags...), env, err
	}
	return p
}

func tafePeer(name, about, hold string, flags ...string) Peer {
	return Peer{
		Name: name, About: about, Program: "bin/peer-tafe", Install: "make build", Version: tafeServe.Version,
		Command: func(s Setting) ([]string, []string, error) { return append(tafeWork(s, hold), flags...), nil, nil },
	}
}

// nethttp has a program for each role.
var nethttp = Peer{
	Name: "nethttp", About: "http.Server and ServeMux, httputil.ReverseProxy, http.FileServer, crypto/tls; no timeouts",
	Program: "bin/peer", Install: "go build -o bin/peer ./peers",
	Command: func(s Setting) ([]string, []string, error) {
		name := map[Role]string{RolePlain: "nethttp", RoleWork: "nethttp", RoleCast: "nethttp", RoleProxy: "proxy", RoleStatic: "files", RoleTLS: "tls",
			RoleCalls: "proxy", RoleCalls1: "proxy"}[s.Role]
		argv := []string{s.Bin("peer"), name, "--listen", s.Listen.String(), "--backend", s.Backend.String(),
			"--rounds", strconv.Itoa(s.Rounds), "--root", s.Files, "--cert", s.Cert, "--key", s.Key}
		if s.HTTP2 {
			argv = append(argv, "--http2")
		}
		if s.Role == RoleCalls {
			argv = append(argv, "--upstream-http2")
		}
		return argv, nil, nil
	},
}

// Peers are all servers, in the order in which reports show them.
var Peers = []Peer{
	tafeServe,
	tafePeer("tafe-yield", "as tafe, the computation calls YieldIfDue every millisecond", "yield"),
	tafePeer("tafe-held", "as tafe, handoff off", "inline", "--handoff=false"),
	tafePeer("tafe-arrival", "as tafe, requests run in the order of their arrival", "inline", "--order", "arrival"),
	tafePeer("tafe-held-arrival", "as tafe-held, requests run in the order of their arrival", "inline", "--handoff=false", "--order", "arrival"),
	tafePeer("tafe-recorded", "as tafe-yield, with the flight recorder of the Go runtime", "yield", "--recorder"),
	tafePeer("tafe-offload", "as tafe, the computation runs on the offload pool, one worker", "offload"),
	tafeFlags("tafe-unwatched", "as tafe, watchdog off", "--watchdog", "off"),
	tafeFlags("tafe-plain", "as tafe, watchdog and handoff off", "--watchdog", "off", "--handoff", "off"),
	tafeFlags("tafe-5ms", "as tafe, budget 5 ms", "--budget", "5ms"),
	tafeFlags("tafe-1ms", "as tafe, budget 1 ms", "--budget", "1ms"),
	{
		Name: "climit", About: "the physical limit: epoll, read, count empty lines, write a fixed answer", Program: "bin/climit",
		Install: "apt-get install gcc libc6-dev",
		Command: func(s Setting) ([]string, []string, error) {
			return []string{s.Bin("climit"), strconv.Itoa(int(s.Listen.Port()))}, nil, nil
		},
	},
	goPeer("gnet", "github.com/panjf2000/gnet/v2", "bare gnet and wildcat, one event loop: the floor of tafe's loop"),
	goPeer("fasthttp", "github.com/valyala/fasthttp", "fasthttp.Server, one process"),
	nethttp,
	goPeer("hertz", "github.com/cloudwego/hertz", "server.New on netpoll"),
	goPeer("nbio", "github.com/lesismal/nbio", "nbhttp.Engine, one poller, default pool"),
	goPeer("gorilla", "github.com/gorilla/websocket", "gorilla/websocket on net/http, a goroutine for each connection"),
	tafePeer("tafe-task", "as tafe, the handler of a WebSocket reads and writes in a straight line", "inline"),
	nginx,
	haproxy,
	h2o,
	gevent,
	apache,
}

// Find returns the peer of that name.
func Find(name string) (Peer, bool) {
	for _, p := range Peers {
		if p.Name == name {
			return p, true
		}
	}
	return Peer{}, false
}
