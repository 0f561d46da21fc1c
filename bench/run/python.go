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

// python is the interpreter that Debian's gevent and mod_wsgi packages belong to.
const python = "/usr/bin/python3"

func wsgiApp(root string) string { return filepath.Join(root, "peers", "wsgi_app.py") }

// PythonRounds measures how many rounds of the WSGI application's computation take a millisecond. 0 when there is no
// Python.
func PythonRounds(root string) int {
	out, err := exec.Command(python, wsgiApp(root), "--calibrate").Output()
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	return n
}

var gevent = Peer{
	Name: "gevent", About: "gevent.pywsgi, monkey-patched http.client, one process, no log",
	Settle:  500 * time.Millisecond,
	Program: "/usr/lib/python3/dist-packages/gevent/pywsgi.py", Install: "apt-get install python3-gevent",
	Version: []string{python, "-c", "import gevent, sys; print('gevent', gevent.__version__, 'Python', sys.version.split()[0])"},
	Command: func(s Setting) ([]string, []string, error) {
		return []string{python, wsgiApp(s.Root), "--listen", s.Listen.String(), "--backend", s.Backend.String(),
			"--rounds", strconv.Itoa(s.PythonRounds)}, nil, nil
	},
}

var apache = Peer{
	Name: "apache", About: "Apache event MPM, mod_wsgi daemon mode, 4 processes of 128 threads; warmed up 3 s longer than others, for it starts its threads at its first requests",
	Settle:  3 * time.Second,
	Program: "/usr/lib/apache2/modules/mod_wsgi.so", Install: "apt-get install apache2 libapache2-mod-wsgi-py3",
	Version: []string{"/usr/sbin/apache2", "-v"},
	Command: func(s Setting) ([]string, []string, error) {
		app, err := os.ReadFile(wsgiApp(s.Root))
		if err != nil {
			return nil, nil, err
		}
		// A copy, because the daemon's user may not be able to read the checkout.
		if err := os.WriteFile(filepath.Join(s.Dir, "wsgi_app.py"), app, 0o644); err != nil {
			return nil, nil, err
		}
		file := filepath.Join(s.Dir, "apache.conf")
		if err := os.WriteFile(file, []byte(apacheConfig(s)), 0o644); err != nil {
			return nil, nil, err
		}
		env := []string{"BENCH_BACKEND=" + s.Backend.String(), "BENCH_ROUNDS=" + strconv.Itoa(s.PythonRounds)}
		return []string{"/usr/sbin/apache2", "-D", "FOREGROUND", "-f", file}, env, nil
	},
}

// apacheConfig lets as many requests be in flight as the seed experiment asks for, in front (MaxRequestWorkers) and in
// the daemon's threads alike. Root is needed to start Apache without these user lines, so they are only written for it.
func apacheConfig(s Setting) string {
	user := ""
	if os.Geteuid() == 0 {
		user = "User www-data\nGroup www-data\n"
		_ = os.Chmod(s.Dir, 0o755)
	}
	return fmt.Sprintf(`ServerRoot %[1]q
ServerName 127.0.0.1
Listen %[2]s
PidFile apache.pid
ErrorLog /dev/stderr
LogLevel error
%[3]sLoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule wsgi_module /usr/lib/apache2/modules/mod_wsgi.so
ServerLimit 8
StartServers 8
ThreadsPerChild 80
ThreadLimit 80
MaxRequestWorkers 640
MinSpareThreads 64
MaxSpareThreads 640
ListenBacklog 4096
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
WSGISocketPrefix %[1]s/wsgi
WSGIRestrictEmbedded On
WSGIDaemonProcess bench processes=4 threads=128 listen-backlog=4096 display-name=bench-wsgi
WSGIScriptAlias / %[1]s/wsgi_app.py process-group=bench application-group=%%{GLOBAL}
<Directory />
Require all granted
</Directory>
`, s.Dir, s.Listen, user)
}
