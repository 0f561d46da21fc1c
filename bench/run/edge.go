package run

import (
	"fmt"
	"os"
	"path/filepath"
)

// nginx and HAProxy run as one worker on the one core, with logs off and kept connections on both sides.

var nginx = Peer{
	Name: "nginx", About: "one worker, no access log, keep-alive to the upstream, sendfile and open_file_cache for files",
	Program: "/usr/sbin/nginx", Install: "apt-get install nginx-light", Version: []string{"/usr/sbin/nginx", "-v"},
	Command: func(s Setting) ([]string, []string, error) {
		file := filepath.Join(s.Dir, "nginx.conf")
		if err := os.WriteFile(file, []byte(nginxConfig(s)), 0o644); err != nil {
			return nil, nil, err
		}
		return []string{"/usr/sbin/nginx", "-p", s.Dir, "-c", file, "-e", "/dev/stderr"}, nil, nil
	},
}

func nginxConfig(s Setting) string {
	location := `location = /plaintext { default_type text/plain; return 200 "Hello, World!"; }`
	listen, upstream := s.Listen.String(), ""
	switch s.Role {
	case RoleProxy:
		upstream = fmt.Sprintf("upstream backend { server %s; keepalive 256; }", s.Backend)
		location = `location / {
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr;
    }`
	case RoleCalls:
		upstream = fmt.Sprintf("upstream backend { server %s; keepalive 256; }", s.Backend)
		location = "location / { grpc_pass grpc://backend; }"
	case RoleStatic:
		location = fmt.Sprintf("location / { root %q; }", s.Files)
	case RoleTLS:
		listen += " ssl"
		location += fmt.Sprintf("\n    ssl_certificate %q; ssl_certificate_key %q; ssl_protocols TLSv1.3; ssl_session_cache shared:bench:10m;", s.Cert, s.Key)
	}
	if s.HTTP2 {
		listen += " http2"
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user www-data;"
	}
	return fmt.Sprintf(`daemon off;
%s
worker_processes 1;
worker_rlimit_nofile 20000;
pid nginx.pid;
error_log /dev/stderr crit;
events { worker_connections 16384; multi_accept on; }
http {
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 75s;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=100;
  client_body_temp_path %[2]q; proxy_temp_path %[2]q; fastcgi_temp_path %[2]q; uwsgi_temp_path %[2]q; scgi_temp_path %[2]q;
  %[3]s
  server {
    listen %[4]s backlog=4096;
    %[5]s
  }
}
`, user, filepath.Join(s.Dir, "temp"), upstream, listen, location)
}

var haproxy = Peer{
	Name: "haproxy", About: "one thread, keep-alive to the server",
	Program: "/usr/sbin/haproxy", Install: "apt-get install haproxy", Version: []string{"/usr/sbin/haproxy", "-v"},
	Command: func(s Setting) ([]string, []string, error) {
		file := filepath.Join(s.Dir, "haproxy.cfg")
		if err := os.WriteFile(file, []byte(haproxyConfig(s)), 0o644); err != nil {
			return nil, nil, err
		}
		return []string{"/usr/sbin/haproxy", "-db", "-f", file}, nil, nil
	},
}

func haproxyConfig(s Setting) string {
	bind, rule := s.Listen.String(), ""
	if s.HTTP2 && s.Role != RoleTLS {
		bind += " proto h2"
	}
	switch s.Role {
	case RoleCalls:
		rule = fmt.Sprintf("http-reuse always\n  server upstream %s proto h2 pool-max-conn 1024", s.Backend)
	case RoleProxy, RoleCalls1:
		rule = fmt.Sprintf("option forwardfor\n  http-reuse always\n  server upstream %s pool-max-conn 1024", s.Backend)
	case RoleTLS:
		bind += " ssl crt " + filepath.Join(s.Dir, "both.pem") + " alpn h2,http/1.1 ssl-min-ver TLSv1.3"
		rule = `http-request return status 200 content-type text/plain string "Hello, World!"`
	default:
		rule = `http-request return status 200 content-type text/plain string "Hello, World!"`
	}
	return fmt.Sprintf(`global
  nbthread 1
  maxconn 4096
  log /dev/null local0
  tune.ssl.cachesize 100000
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 75s
  timeout http-keep-alive 75s
listen bench
  bind %s backlog 4096
  %s
`, bind, rule)
}

var h2o = Peer{
	Name: "h2o", About: "one thread, no access log; /plaintext is a file",
	Program: "/usr/bin/h2o", Install: "apt-get install h2o", Version: []string{"/usr/bin/h2o", "-v"},
	Command: func(s Setting) ([]string, []string, error) {
		file := filepath.Join(s.Dir, "h2o.yaml")
		if err := os.WriteFile(filepath.Join(s.Dir, "plaintext.txt"), []byte("Hello, World!"), 0o644); err != nil {
			return nil, nil, err
		}
		if err := os.WriteFile(file, []byte(h2oConfig(s)), 0o644); err != nil {
			return nil, nil, err
		}
		return []string{"/usr/bin/h2o", "-c", file}, nil, nil
	},
}

func h2oConfig(s Setting) string {
	ssl, path := "", fmt.Sprintf("/plaintext: { file.file: %q }", filepath.Join(s.Dir, "plaintext.txt"))
	switch s.Role {
	case RoleTLS:
		ssl = fmt.Sprintf("\n  ssl: { certificate-file: %q, key-file: %q }", s.Cert, s.Key)
	case RoleStatic:
		path = fmt.Sprintf("/: { file.dir: %q }", s.Files)
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user: www-data\n"
	}
	return fmt.Sprintf(`%snum-threads: 1
max-connections: 16384
error-log: /dev/stderr
listen:
  host: %s
  port: %d%s
hosts:
  default:
    paths:
      %s
`, user, s.Listen.Addr(), s.Listen.Port(), ssl, path)
}
