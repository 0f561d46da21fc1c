// The calls that block, and what replaces them: the table of docs/cooperative.md. Locks are not in it, because handlers may use them; reads
// and writes of a net.Conn are not, because a connection of reactor.Dialer waits cooperatively; clients of databases and their pools are
// not, because docs/cooperative.md recommends them.

package blockcheck

import (
	"go/types"
	"strings"
)

// entry is a function that blocks.
type entry struct {
	name   string // as in the output
	advice string
}

const (
	sleepAdvice   = "use Context.Sleep or Task.Sleep"
	httpAdvice    = "use package app/client"
	dialAdvice    = "use reactor.Dialer"
	groupAdvice   = "use Context.Task().Group()"
	offloadAdvice = "use app.Offload, or app.Blocking() for the route"
)

// rows have the functions of each piece of advice, as types.Func.FullName has them.
var rows = map[string][]string{
	sleepAdvice: {"time.Sleep", "syscall.Nanosleep"},
	httpAdvice: {
		"net/http.Get", "net/http.Head", "net/http.Post", "net/http.PostForm",
		"(*net/http.Client).Do", "(*net/http.Client).Get", "(*net/http.Client).Head", "(*net/http.Client).Post", "(*net/http.Client).PostForm",
		"(*net/http.Transport).RoundTrip",
	},
	dialAdvice: {
		"net.Dial", "net.DialTimeout", "net.DialTCP", "net.DialUDP", "net.DialIP", "net.DialUnix",
		"(*net.Dialer).Dial", "(*net.Dialer).DialContext", "(*net.Dialer).DialTCP", "(*net.Dialer).DialUDP", "(*net.Dialer).DialUnix",
		"crypto/tls.Dial", "crypto/tls.DialWithDialer", "(*crypto/tls.Dialer).Dial", "(*crypto/tls.Dialer).DialContext",
		"net/smtp.Dial", "net/smtp.SendMail", "net/rpc.Dial", "net/rpc.DialHTTP", "(*net/rpc.Client).Call",
	},
	groupAdvice: {
		"(*sync.WaitGroup).Wait", "(*sync.Cond).Wait", "(*golang.org/x/sync/errgroup.Group).Wait",
	},
	"use loop.Flight":    {"(*golang.org/x/sync/singleflight.Group).Do"},
	"use loop.Semaphore": {"(*golang.org/x/sync/semaphore.Weighted).Acquire"},
	offloadAdvice: {
		"os.Open", "os.OpenFile", "os.OpenInRoot", "os.Create", "os.CreateTemp", "os.MkdirTemp", "os.ReadFile", "os.WriteFile", "os.ReadDir",
		"os.Stat", "os.Lstat", "os.Mkdir", "os.MkdirAll", "os.Remove", "os.RemoveAll", "os.Rename", "os.Truncate", "os.Link", "os.Symlink",
		"os.Readlink", "os.Chmod", "os.Chown", "os.Chtimes", "os.CopyFS", "os.StartProcess", "os.OpenRoot",
		"(*os.File).Read", "(*os.File).ReadAt", "(*os.File).ReadFrom", "(*os.File).Write", "(*os.File).WriteAt", "(*os.File).WriteString",
		"(*os.File).WriteTo", "(*os.File).Sync", "(*os.File).ReadDir", "(*os.File).Readdir", "(*os.File).Readdirnames", "(*os.File).Truncate",
		"(*os.Root).Open", "(*os.Root).OpenFile", "(*os.Root).Create", "(*os.Root).ReadFile", "(*os.Root).WriteFile", "(*os.Root).Stat",
		"(*os.Process).Wait",
		"path/filepath.Walk", "path/filepath.WalkDir", "path/filepath.Glob", "path/filepath.EvalSymlinks",
		"io/ioutil.ReadFile", "io/ioutil.WriteFile", "io/ioutil.ReadDir", "io/ioutil.TempFile", "io/ioutil.TempDir",
		"(*os/exec.Cmd).Run", "(*os/exec.Cmd).Start", "(*os/exec.Cmd).Wait", "(*os/exec.Cmd).Output", "(*os/exec.Cmd).CombinedOutput",
		"net.LookupAddr", "net.LookupCNAME", "net.LookupHost", "net.LookupIP", "net.LookupMX", "net.LookupNS", "net.LookupPort",
		"net.LookupSRV", "net.LookupTXT", "net.ResolveIPAddr", "net.ResolveTCPAddr", "net.ResolveUDPAddr",
		"(*net.Resolver).LookupAddr", "(*net.Resolver).LookupCNAME", "(*net.Resolver).LookupHost", "(*net.Resolver).LookupIP",
		"(*net.Resolver).LookupIPAddr", "(*net.Resolver).LookupMX", "(*net.Resolver).LookupNS", "(*net.Resolver).LookupNetIP",
		"(*net.Resolver).LookupPort", "(*net.Resolver).LookupSRV", "(*net.Resolver).LookupTXT",
		"syscall.Flock", "syscall.Fsync", "syscall.Select", "syscall.Wait4",
		"golang.org/x/sys/unix.Flock", "golang.org/x/sys/unix.Fsync", "golang.org/x/sys/unix.Poll", "golang.org/x/sys/unix.Ppoll",
		"golang.org/x/sys/unix.Select", "golang.org/x/sys/unix.EpollWait", "golang.org/x/sys/unix.Nanosleep", "golang.org/x/sys/unix.Wait4",
	},
}

// table has the advice of rows by function.
var table = func() map[string]string {
	byName := map[string]string{}
	for advice, names := range rows {
		for _, name := range names {
			byName[name] = advice
		}
	}
	return byName
}()

// tableEntry returns what blocks in a call of f.
func tableEntry(f *types.Func) (entry, bool) {
	if name, ok := strings.CutPrefix(f.Name(), "_Cfunc_"); ok {
		return entry{"C." + name, offloadAdvice}, !harmlessC[name]
	}
	advice, ok := table[f.FullName()]
	return entry{shortName(f), advice}, ok
}

// harmlessC are the functions of cgo that copy and free memory.
var harmlessC = map[string]bool{
	"CString": true, "CBytes": true, "GoString": true, "GoStringN": true, "GoBytes": true, "free": true, "malloc": true, "_CMalloc": true,
}

// callers are packages whose functions call the functions that they get before they return.
var callers = []string{"bytes", "cmp", "maps", "slices", "sort", "strings", "unicode"}

// synchronous are further functions that do.
var synchronous = map[string]bool{
	"(*sync.Once).Do": true, "(*sync.Map).Range": true, "(*sync.Pool).Get": true, "runtime/pprof.Do": true,
	"(*tafe/loop.Task).Outside": true, "(*tafe/loop.Flight[K, V]).Do": true,
}

// callbacks are the functions whose function arguments run on a loop, but not as a task.
var callbacks = map[string]bool{
	"(*tafe/loop.Loop).Post": true, "(*tafe/loop.Loop).PostUnbounded": true, "(*tafe/loop.Loop).AfterFunc": true,
	"(*tafe/app.Context).WhenDone": true,
}
