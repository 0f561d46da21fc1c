// This file tests unmodified synchronous clients against real servers, with 500
// tasks at a time on two loops. A dial function is all that makes them cooperative.

package reactor_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"tafe/loop"
	"tafe/loop/reactor"
	"tafe/loop/testrig"
)

func TestMemcached(t *testing.T) {
	path := testrig.Program(t, "memcached")
	s := startServer(t, syscall.SIGKILL, func(port string) *exec.Cmd {
		return exec.Command(path, "-u", "nobody", "-l", "127.0.0.1", "-p", port, "-U", "0", "-c", "4096", "-m", "64")
	}, nil)
	survives(t, s, func(d *reactor.Dialer) (func(*loop.Task, int, int) error, func()) {
		client := memcache.New(s.addr)
		client.DialContext = d.DialContext
		client.Timeout = patience
		client.MaxIdleConns = 1000
		return func(_ *loop.Task, who, round int) error {
			key, value := fmt.Sprint("key", who), fmt.Sprint(who, " in round ", round)
			if err := client.Set(&memcache.Item{Key: key, Value: []byte(value)}); err != nil {
				return err
			}
			item, err := client.Get(key)
			return same(value, func() string { return string(item.Value) }, err)
		}, func() { _ = client.Close() }
	})
}

// same returns err. It panics if a client got the response to another request.
func same(want string, got func() string, err error) error {
	if err == nil && got() != want {
		panic(fmt.Sprintf("asked for %q, got %q", want, got()))
	}
	return err
}

// startRedis starts a server without persistence.
func startRedis(t *testing.T) *server {
	t.Helper()
	path := testrig.Program(t, "redis-server")
	dir := t.TempDir()
	return startServer(t, syscall.SIGKILL, func(port string) *exec.Cmd {
		return exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no", "--maxclients", "4000")
	}, nil)
}

func TestRedis(t *testing.T) {
	s := startRedis(t)
	survives(t, s, func(d *reactor.Dialer) (func(*loop.Task, int, int) error, func()) {
		pool := &redis.Pool{MaxIdle: 1000, DialContext: func(ctx context.Context) (redis.Conn, error) {
			return redis.DialContext(ctx, "tcp", s.addr, redis.DialContextFunc(d.DialContext),
				redis.DialReadTimeout(patience), redis.DialWriteTimeout(patience))
		}}
		return func(_ *loop.Task, who, round int) error {
			c := pool.Get()
			defer func() { _ = c.Close() }()
			key, value := fmt.Sprint("key", who), fmt.Sprint(who, " in round ", round)
			if err := c.Send("SET", key, value); err != nil {
				return err
			}
			got, err := redis.String(c.Do("GET", key)) // pipelined
			return same(value, func() string { return got }, err)
		}, func() { _ = pool.Close() }
	})
}

// startPostgreSQL starts a server without a password for the user of pgDSN.
func startPostgreSQL(t *testing.T) *server {
	t.Helper()
	const places = "/usr/lib/postgresql/*/bin"
	initdb, postgres := testrig.Program(t, "initdb", places), testrig.Program(t, "postgres", places)
	dir := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.Mkdir(dir, 0o700))
	as := unprivileged(t, dir)
	command := func(path string, args ...string) *exec.Cmd {
		cmd := exec.Command(path, args...)
		cmd.SysProcAttr, cmd.Dir = as, "/"
		return cmd
	}
	for parent := filepath.Dir(dir); parent != os.TempDir() && len(parent) > 1; parent = filepath.Dir(parent) {
		require.NoError(t, os.Chmod(parent, 0o755))
	}
	out, err := command(initdb, "-D", dir, "-A", "trust", "-U", "tafe", "--no-sync").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return startServer(t, syscall.SIGQUIT, func(port string) *exec.Cmd {
		return command(postgres, "-D", dir, "-p", port, "-k", dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=80")
	}, func(port string) error { // the server accepts before it answers
		c, err := pgconn.Connect(context.Background(), pgDSN+port)
		if err == nil {
			_ = c.Close(context.Background())
		}
		return err
	})
}

// A pgconn task that reads waits by a sync.Cond for the background goroutine of the
// same connection, which waits for the task's loop.
func TestPostgreSQL(t *testing.T) {
	s := startPostgreSQL(t)
	survives(t, s, func(d *reactor.Dialer) (func(*loop.Task, int, int) error, func()) {
		pool := &pgPool{dialer: d, port: s.port, holders: loop.NewSemaphore(50, 1000)}
		return func(task *loop.Task, who, round int) error {
			want := fmt.Sprint(who, " in round ", round)
			got := ""
			err := pool.use(task, func(c *pgconn.PgConn) error {
				r := c.ExecParams(context.Background(), "select $1::text", [][]byte{[]byte(want)}, nil, nil, nil).Read()
				if r.Err == nil {
					got = string(r.Rows[0][0])
				}
				return r.Err
			})
			return same(want, func() string { return got }, err)
		}, pool.close
	})
}

const pgDSN = "host=127.0.0.1 user=tafe dbname=postgres sslmode=disable port="

// pgPool shares connections, because each one is a process of the server.
type pgPool struct {
	dialer  *reactor.Dialer
	port    string
	holders *loop.Semaphore
	mu      sync.Mutex
	idle    []*pgconn.PgConn
}

func (p *pgPool) use(t *loop.Task, f func(*pgconn.PgConn) error) error {
	if err := p.holders.Acquire(t); err != nil {
		return err
	}
	defer p.holders.Release()
	c, err := p.get()
	if err != nil {
		return err
	}
	if err := f(c); err != nil {
		_ = c.Close(context.Background())
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, c)
	return nil
}

func (p *pgPool) get() (*pgconn.PgConn, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	config, err := pgconn.ParseConfig(pgDSN + p.port)
	if err != nil {
		return nil, err
	}
	config.DialFunc = p.dialer.DialContext
	return pgconn.ConnectConfig(context.Background(), config)
}

func (p *pgPool) close() {
	for _, c := range p.idle {
		_ = c.Close(context.Background())
	}
}

func TestTLSToNginx(t *testing.T) {
	path := testrig.Program(t, "nginx")
	dir := t.TempDir()
	roots := certificate(t, dir)
	config := filepath.Join(dir, "nginx.conf")
	s := startServer(t, syscall.SIGTERM, func(port string) *exec.Cmd {
		require.NoError(t, os.WriteFile(config, []byte(nginxConfig(dir, port)), 0o600))
		return exec.Command(path, "-p", dir, "-c", config)
	}, nil)
	survives(t, s, func(d *reactor.Dialer) (func(*loop.Task, int, int) error, func()) {
		conns := make([]net.Conn, 500)
		settings := &tls.Config{RootCAs: roots, ServerName: "tafe.test", ClientSessionCache: tls.NewLRUClientSessionCache(1000)}
		return func(_ *loop.Task, who, round int) error {
				if conns[who] == nil {
					raw, err := d.Dial("tcp", s.addr)
					if err != nil {
						return err
					}
					conns[who] = tls.Client(raw, settings)
				}
				path := fmt.Sprintf("/%d/%d", who, round)
				got, err := get(conns[who], path)
				if err != nil {
					_ = conns[who].Close()
					conns[who] = nil
				}
				return same(path, func() string { return got }, err)
			}, func() {
				for _, c := range conns {
					if c != nil {
						_ = c.Close()
					}
				}
			}
	})
}

// get sends a request for a path and reads the body, without an HTTP package.
func get(c net.Conn, path string) (string, error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: tafe.test\r\n\r\n", path); err != nil {
		return "", err
	}
	r := bufio.NewReader(c)
	length := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if v, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			_, _ = fmt.Sscan(v, &length)
		}
		if line == "\r\n" {
			break
		}
	}
	body := make([]byte, length)
	_, err := io.ReadFull(r, body)
	return string(body), err
}

func nginxConfig(dir, port string) string {
	return strings.NewReplacer("DIR", dir, "PORT", port).Replace(`
daemon off;
worker_processes 1;
pid DIR/nginx.pid;
error_log DIR/error.log;
events { worker_connections 4096; }
http {
	access_log off;
	client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
	keepalive_requests 100000;
	server {
		listen 127.0.0.1:PORT ssl;
		ssl_certificate DIR/cert.pem;
		ssl_certificate_key DIR/key.pem;
		location / { default_type text/plain; return 200 $uri; }
	}
}
`)
}

// certificate writes a self-signed certificate for tafe.test and its key to dir.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"tafe.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	require.NoError(t, err)
	keyBytes, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	write := func(name, kind string, der []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	write("cert.pem", "CERTIFICATE", cert)
	write("key.pem", "PRIVATE KEY", keyBytes)
	roots := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(cert)
	require.NoError(t, err)
	roots.AddCert(parsed)
	return roots
}
