package run

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine describes the machine of the figures.
type Machine struct {
	Date   string `json:"date"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	MemMB  int64  `json:"memory_mb"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	System string `json:"system"`
	// Congestion is the TCP congestion control algorithm, which applies to loopback.
	Congestion string `json:"congestion_control"`
}

// Describe reads this machine's description.
func Describe() Machine {
	m := Machine{Date: time.Now().UTC().Format("2006-01-02 15:04 MST"), Cores: runtime.NumCPU(), Go: runtime.Version(),
		CPU: procField("/proc/cpuinfo", "model name"), System: strings.Trim(shellField("/etc/os-release", "PRETTY_NAME"), `"`)}
	control, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	m.Congestion = strings.TrimSpace(string(control))
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
	}
	kb, _ := strconv.ParseInt(strings.TrimSuffix(procField("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	m.MemMB = kb / 1024
	return m
}

func procField(file, name string) string { return field(file, name, ":") }

func shellField(file, name string) string { return field(file, name, "=") }

func field(file, name, separator string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, separator); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// VersionOf returns the version of a peer: the output of its command, or the module version in the peer binary.
func (p Peer) VersionOf(root string) string {
	if len(p.Version) > 0 {
		argv := append([]string{}, p.Version...)
		if strings.HasPrefix(argv[0], "bin/") {
			argv[0] = filepath.Join(root, argv[0])
		}
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil && len(out) == 0 {
			return ""
		}
		line, _, _ := bytes.Cut(out, []byte("\n"))
		return strings.TrimSpace(string(line))
	}
	if p.Program != "bin/peer" {
		return ""
	}
	info, err := buildinfo.ReadFile(filepath.Join(root, p.Program))
	if err != nil {
		return ""
	}
	if p.Module == "" {
		return info.GoVersion
	}
	for _, m := range info.Deps {
		if m.Path == p.Module {
			return m.Version
		}
	}
	return ""
}

// busy returns the non-idle time of the given cores from /proc/stat, in ticks of 10 ms.
func busy(cores ...int) time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	var ticks int64
	for _, core := range cores {
		name := "cpu" + strconv.Itoa(core)
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 9 || f[0] != name {
				continue
			}
			for i, v := range f[1:9] { // user nice system idle iowait irq softirq steal
				if i != 3 && i != 4 {
					n, _ := strconv.ParseInt(v, 10, 64)
					ticks += n
				}
			}
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
