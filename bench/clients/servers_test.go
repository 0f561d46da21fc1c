// The servers, each a process of its own that ends with the test. A server that is not installed skips the test, or fails it if CI=true.

package clients

import (
	"context"
	"database/sql"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"tafe/loop/testrig"
)

const (
	patience = 2 * time.Minute // for a machine with much else to do
	connsMax = 600             // connections that a server accepts at least
)

// serveGRPCEnv makes the test binary serve gRPC at the address that it has, and nothing else.
const serveGRPCEnv = "CLIENTS_SERVE_GRPC"

func TestMain(m *testing.M) {
	if addr := os.Getenv(serveGRPCEnv); addr != "" {
		ln, err := net.Listen("tcp", addr)
		if err == nil {
			err = newGRPCServer().Serve(ln)
		}
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// process is a server to start.
type process struct {
	command *exec.Cmd
	end     syscall.Signal                  // ends it and its children at once
	ready   func(ctx context.Context) error // asks more than whether it accepts; may be nil
}

// start starts a server and waits until it is ready.
func start(t testing.TB, addr string, p process) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	out, err := os.Create(log) // a pipe would be waited for, and children inherit it
	require.NoError(t, err)
	defer func() { _ = out.Close() }()
	p.command.Stdout, p.command.Stderr = out, out
	require.NoError(t, p.command.Start())
	exited := make(chan struct{})
	go func() { _ = p.command.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = p.command.Process.Signal(p.end)
		<-exited
	})
	for end := time.Now().Add(patience); ; {
		if accepts(addr, p.ready) {
			return
		}
		select {
		case <-exited:
		case <-time.After(10 * time.Millisecond):
			if time.Now().Before(end) {
				continue
			}
		}
		said, _ := os.ReadFile(log)
		require.Fail(t, "the server does not start", "%s: %s", p.command.Path, said)
	}
}

func accepts(addr string, ready func(context.Context) error) bool {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	_ = c.Close()
	if ready == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return ready(ctx) == nil
}

func serveMemcached(t testing.TB) string {
	path, port := testrig.Program(t, "memcached"), testrig.Port(t)
	addr := "127.0.0.1:" + port
	start(t, addr, process{command: exec.Command(path, "-u", "nobody", "-l", "127.0.0.1", "-p", port, "-U", "0", "-c", strconv.Itoa(2*connsMax), "-m", "64"), end: syscall.SIGKILL})
	return addr
}

func serveRedis(t testing.TB) string {
	path, port := testrig.Program(t, "redis-server"), testrig.Port(t)
	addr := "127.0.0.1:" + port
	start(t, addr, process{command: exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--appendonly", "no"), end: syscall.SIGKILL})
	return addr
}

// serveHTTP starts nginx, which answers with the target of the request.
func serveHTTP(t testing.TB) string {
	path, port, dir := testrig.Program(t, "nginx"), testrig.Port(t), t.TempDir()
	addr, config := "127.0.0.1:"+port, filepath.Join(dir, "nginx.conf")
	text := strings.NewReplacer("DIR", dir, "ADDR", addr).Replace(`
daemon off;
worker_processes 1;
pid DIR/nginx.pid;
error_log DIR/error.log;
events { worker_connections 4096; }
http {
	access_log off;
	client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
	keepalive_requests 10000000;
	server { listen ADDR; location / { default_type text/plain; return 200 $request_uri; } }
}
`)
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	start(t, addr, process{command: exec.Command(path, "-p", dir, "-c", config), end: syscall.SIGTERM})
	return addr
}

func serveGRPC(t testing.TB) string {
	program, err := os.Executable()
	require.NoError(t, err)
	addr := "127.0.0.1:" + testrig.Port(t)
	command := exec.Command(program)
	command.Env = append(os.Environ(), serveGRPCEnv+"="+addr)
	start(t, addr, process{command: command, end: syscall.SIGKILL})
	return addr
}

// servePostgreSQL starts a server that asks for no password.
func servePostgreSQL(t testing.TB) string {
	const places = "/usr/lib/postgresql/*/bin"
	initdb, postgres := testrig.Program(t, "initdb", places), testrig.Program(t, "postgres", places)
	dir, as := folderOfUser(t, "postgres")
	command := func(path string, args ...string) *exec.Cmd {
		cmd := exec.Command(path, args...)
		cmd.SysProcAttr, cmd.Dir = as, dir
		return cmd
	}
	data, port := filepath.Join(dir, "data"), testrig.Port(t)
	out, err := command(initdb, "-D", data, "-A", "trust", "-U", "tafe", "--no-sync").CombinedOutput()
	require.NoError(t, err, "%s", out)
	addr := "127.0.0.1:" + port
	start(t, addr, process{
		command: command(postgres, "-D", data, "-p", port, "-k", dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=150"),
		end:     syscall.SIGQUIT,
		ready: func(ctx context.Context) error {
			c, err := pgconn.Connect(ctx, postgresURL(addr))
			if err == nil {
				err = c.Close(ctx)
			}
			return err
		},
	})
	return addr
}

// serveMariaDB starts a server without the tables of users, so that it asks for no password.
func serveMariaDB(t testing.TB) string {
	path := testrig.Program(t, "mariadbd", "/usr/sbin")
	dir, as := folderOfUser(t, "mysql")
	port := testrig.Port(t)
	command := exec.Command(path, "--no-defaults", "--datadir="+dir, "--bind-address=127.0.0.1", "--port="+port, "--socket="+filepath.Join(dir, "s"),
		"--skip-grant-tables", "--innodb-log-file-size=4M", "--innodb-buffer-pool-size=16M", "--max-connections=150")
	command.SysProcAttr, command.Dir = as, dir
	addr := "127.0.0.1:" + port
	start(t, addr, process{command: command, end: syscall.SIGKILL, ready: func(ctx context.Context) error {
		connector, err := mysql.NewConnector(mysqlConfig(addr))
		if err != nil {
			return err
		}
		db := sql.OpenDB(connector)
		defer func() { _ = db.Close() }()
		return db.PingContext(ctx)
	}})
	return addr
}

// folderOfUser returns a new folder for a server that does not run as root. If the test does, the folder belongs to the user of the given name,
// or to nobody, and commands with the attributes run as that user.
func folderOfUser(t testing.TB, name string) (dir string, as *syscall.SysProcAttr) {
	dir, err := os.MkdirTemp("", "clients") // other users cannot enter t.TempDir
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Getuid() != 0 {
		return dir, nil
	}
	for _, name := range []string{name, "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		require.NoError(t, err)
		gid, err := strconv.Atoi(u.Gid)
		require.NoError(t, err)
		require.NoError(t, os.Chown(dir, uid, gid))
		return dir, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), NoSetGroups: true}}
	}
	testrig.Lacks(t, "there is no user for a server that does not run as root")
	return "", nil
}
