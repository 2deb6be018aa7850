package webserver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A front is a web server that runs with our examples.
type front struct {
	*process
	kind string // nginx, apache, lighttpd
	port int
	tls  int // port, 0 for none
}

func (f *front) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", f.port, path) }

// A swap is what a test changes in an example: only addresses and paths.
type swap struct{ from, to string }

// example copies a shipped file into dir, with every swap made; each must be
// there to make.
func example(t testing.TB, file, to string, swaps ...swap) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	s := string(text)
	for _, x := range swaps {
		if !strings.Contains(s, x.from) {
			t.Fatalf("%s has no %q", file, x.from)
		}
		s = strings.ReplaceAll(s, x.from, x.to)
	}
	must(t, os.MkdirAll(filepath.Dir(to), 0o755))
	must(t, os.WriteFile(to, []byte(s), 0o644))
}

// launch starts a web server on ports of the kernel's choice; another process may
// be quicker to take one of them, so it tries again.
func launch(t testing.TB, kind string, end syscall.Signal, begin func(dir string, port, tls int) *process) *front {
	t.Helper()
	for try := 1; ; try++ {
		f := &front{kind: kind, port: freePort(t), tls: freePort(t)}
		f.process = begin(place(t), f.port, f.tls)
		if f.listens(f.port) {
			t.Cleanup(func() {
				f.stop(end)
				if t.Failed() {
					t.Logf("the log of %s:\n%s", kind, f.log)
				}
			})
			return f
		}
		if try == 5 || !strings.Contains(f.log.String(), "in use") {
			t.Fatalf("%s ended:\n%s", kind, f.log)
		}
	}
}

// asUser names the user that a web server started by root becomes; "" if the test
// is not root, and it stays what it is.
func asUser(t testing.TB) (name, group string, uid, gid int) {
	t.Helper()
	if os.Getuid() != 0 {
		return "", "", os.Getuid(), os.Getgid()
	}
	for _, name := range []string{"www-data", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		g, err := user.LookupGroupId(u.Gid)
		must(t, err)
		uid, _ = strconv.Atoi(u.Uid)
		gid, _ = strconv.Atoi(u.Gid)
		return name, g.Name, uid, gid
	}
	t.Fatal("there is neither a user www-data nor nobody")
	return
}

const (
	exampleCert = "/etc/ssl/certs/wiki.example.org.pem"
	exampleKey  = "/etc/ssl/private/wiki.example.org.key"
	exampleSock = "/run/scgid/wiki.sock"
)

// nginx starts one with a site's example.
func nginx(t testing.TB, site string, swaps ...swap) *front {
	t.Helper()
	program := needProgram(t, "nginx", "nginx-light")
	needFile(t, "/etc/nginx/scgi_params", "nginx-common")
	return launch(t, "nginx", syscall.SIGQUIT, func(dir string, port, tls int) *process {
		swaps := append([]swap{{"listen 80;", fmt.Sprintf("listen 127.0.0.1:%d;", port)}}, swaps...)
		if strings.HasSuffix(site, "scgid-site.conf") {
			cert, key := certificate(t, dir)
			swaps = append(swaps, swap{exampleCert, cert}, swap{exampleKey, key},
				swap{"listen 443 ssl;", fmt.Sprintf("listen 127.0.0.1:%d ssl;", tls)})
		}
		example(t, site, filepath.Join(dir, "site.conf"), swaps...)
		example(t, "nginx/scgid.conf", filepath.Join(dir, "snippets/scgid.conf"))
		example(t, "/etc/nginx/scgi_params", filepath.Join(dir, "scgi_params"))
		conf := nginxMain
		if name, _, _, _ := asUser(t); name != "" {
			conf = "user " + name + ";\n" + conf
		}
		must(t, os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(strings.ReplaceAll(conf, "DIR", dir)), 0o644))
		return start(t, dir, program, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr")
	})
}

const nginxMain = `
daemon off;
worker_processes 2;
pid DIR/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	include DIR/site.conf;
}
`

// apache starts one with the example.
func apache(t testing.TB, swaps ...swap) *front {
	t.Helper()
	program := needProgram(t, "apache2", "apache2")
	const modules = "/usr/lib/apache2/modules"
	needFile(t, modules+"/mod_proxy_scgi.so", "apache2-bin")
	return launch(t, "apache", syscall.SIGTERM, func(dir string, port, tls int) *process {
		cert, key := certificate(t, dir)
		site := filepath.Join(dir, "site.conf")
		example(t, "apache/scgid.conf", site, append([]swap{
			{"<VirtualHost *:80>", fmt.Sprintf("<VirtualHost 127.0.0.1:%d>", port)},
			{"<VirtualHost *:443>", fmt.Sprintf("<VirtualHost 127.0.0.1:%d>", tls)},
			{exampleCert, cert}, {exampleKey, key}}, swaps...)...)
		var conf strings.Builder
		for _, name := range []string{"mpm_event", "authz_core", "proxy", "proxy_scgi", "setenvif", "socache_shmcb", "ssl"} {
			fmt.Fprintf(&conf, "LoadModule %s_module %s/mod_%s.so\n", name, modules, name)
		}
		if name, group, _, _ := asUser(t); name != "" {
			fmt.Fprintf(&conf, "User %s\nGroup %s\n", name, group)
		}
		fmt.Fprintf(&conf, apacheMain, dir, port, tls, dir, dir, site)
		must(t, os.WriteFile(filepath.Join(dir, "apache.conf"), []byte(conf.String()), 0o644))
		return start(t, dir, program, "-f", filepath.Join(dir, "apache.conf"), "-DFOREGROUND")
	})
}

const apacheMain = `
ServerRoot %s
ServerName localhost
Listen 127.0.0.1:%d
Listen 127.0.0.1:%d
DefaultRuntimeDir %s
PidFile %s/apache.pid
ErrorLog /dev/stderr
LogLevel warn
ServerLimit 4
StartServers 2
ThreadsPerChild 64
MaxRequestWorkers 256
Include %s
`

// lighttpd starts one with the example.
func lighttpd(t testing.TB, swaps ...swap) *front {
	t.Helper()
	program := needProgram(t, "lighttpd", "lighttpd")
	return launch(t, "lighttpd", syscall.SIGINT, func(dir string, port, _ int) *process {
		example(t, "lighttpd/60-scgid.conf", filepath.Join(dir, "site.conf"), swaps...)
		name, group, uid, gid := asUser(t)
		for _, sub := range []string{"uploads", "root"} {
			must(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
			must(t, os.Chown(filepath.Join(dir, sub), uid, gid))
		}
		conf := fmt.Sprintf(lighttpdMain, port, dir, dir, dir)
		if name != "" {
			conf += fmt.Sprintf("server.username = %q\nserver.groupname = %q\n", name, group)
		}
		conf += fmt.Sprintf("include %q\n", filepath.Join(dir, "site.conf"))
		must(t, os.WriteFile(filepath.Join(dir, "lighttpd.conf"), []byte(conf), 0o644))
		return start(t, dir, program, "-D", "-f", filepath.Join(dir, "lighttpd.conf"))
	})
}

const lighttpdMain = `
server.bind = "127.0.0.1"
server.port = %d
server.document-root = "%s/root"
server.upload-dirs = ( "%s/uploads" )
server.pid-file = "%s/lighttpd.pid"
server.max-connections = 512
server.max-fds = 2048
`

// certificate writes one for wiki.example.org, signed by itself.
func certificate(t testing.TB, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	about := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"wiki.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, private.Public(), private)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return cert, key
}
