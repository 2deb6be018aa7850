package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/scgid/scgid/master/config"
)

const nginxDump = `# configuration file /etc/nginx/nginx.conf:
user www-data; # not { this
events { }
http {
    log_format x '$remote_addr "{" ;';
    upstream wiki { server unix:/run/scgid/wiki.sock; server 192.0.2.7:4000; }
    include sites-enabled/*;
    include /etc/nginx/conf.d/*.conf;
}

# configuration file /etc/nginx/scgi_params:
scgi_param  REQUEST_METHOD     $request_method;
scgi_param  REQUEST_URI        "$request_uri";
scgi_param  HTTPS              $https if_not_empty;

# configuration file /etc/nginx/sites-enabled/wiki:
server {
    server_name _ *.example.org wiki.example.org;
    include scgi_params;
    location / { scgi_pass wiki; }
    location /own { scgi_param X ${host}y; scgi_pass 127.0.0.1:4001; }
    location ~ "^/a{2}" { if ($x) { proxy_pass http://unix:/run/scgid/wiki.sock:/b; } }
}
# configuration file /etc/nginx/conf.d/other.conf:
server { location / { proxy_pass http://127.0.0.1:4000/x; } location /v { scgi_pass $where; } }
`

func TestNginxsConfigurationIsFollowed(t *testing.T) {
	params := []string{"REQUEST_METHOD", "REQUEST_URI", "HTTPS"}
	want := []pass{
		{"scgi_pass", []string{"unix:/run/scgid/wiki.sock", "192.0.2.7:4000"}, "wiki.example.org", params},
		{"scgi_pass", []string{"127.0.0.1:4001"}, "wiki.example.org", []string{"X"}},
		{"proxy_pass", []string{"unix:/run/scgid/wiki.sock:/b"}, "wiki.example.org", params},
		{"proxy_pass", []string{"127.0.0.1:4000"}, "", nil},
		{"scgi_pass", []string{"$where"}, "", nil},
	}
	got := nginxPasses(parseNginx(nginxDump))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	for _, odd := range []string{"", "x", nginxFile + "/a:\ninclude /a;", nginxFile + "/a:\n}}} ; server { ' ", nginxFile + "/a:\n{{{"} {
		nginxPasses(parseNginx(odd)) // ends
	}
}

// What nginx itself prints is what is read.
func TestNginxsOwnDumpIsUnderstood(t *testing.T) {
	nginx, err := exec.LookPath("/usr/sbin/nginx")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs nginx")
		}
		t.Skip("needs nginx")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"nginx.conf": "pid " + dir + "/pid; error_log stderr; events {}\nhttp { access_log off; include site.conf; }\n",
		"site.conf":  "server { listen 127.0.0.1:1; server_name x.example; location / { include p; scgi_pass unix:" + dir + "/s; } }\n",
		"p":          "scgi_param REQUEST_METHOD $request_method;\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(nginx, "-T", "-q", "-c", filepath.Join(dir, "nginx.conf")).Output()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	want := []pass{{"scgi_pass", []string{"unix:" + dir + "/s"}, "x.example", []string{"REQUEST_METHOD"}}}
	if got := nginxPasses(parseNginx(string(out))); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAddressesOfNginxAreThoseOfListeners(t *testing.T) {
	for _, c := range []struct {
		nginx, listener string
		want            bool
	}{
		{"unix:/run/scgid/wiki.sock", "/run/scgid/wiki.sock", true},
		{"unix:/var/run/scgid/wiki.sock", "/run/scgid/wiki.sock", true},
		{"unix:/run/scgid/wiki.sock", "/run/scgid/wiki2.sock", false},
		{"unix:/run/scgid/wiki.sock:/x", "/run/scgid/wiki.sock", true},
		{"localhost:4000", "127.0.0.1:4000", true},
		{"127.0.0.1:4000", "0.0.0.0:4000", true},
		{"127.0.0.1:4000", "127.0.0.1:4001", false},
		{"192.0.2.7:4000", "127.0.0.1:4000", false},
		{"wiki", "/run/wiki", false},
	} {
		if got := leadsTo(c.nginx, c.listener); got != c.want {
			t.Errorf("%s at %s: %v", c.nginx, c.listener, got)
		}
	}
}

// full is what nginx's scgi_params has.
var full = []string{"REQUEST_METHOD", "REQUEST_URI", "QUERY_STRING", "CONTENT_TYPE", "DOCUMENT_URI", "DOCUMENT_ROOT", "SCGI",
	"SERVER_PROTOCOL", "REQUEST_SCHEME", "HTTPS", "REMOTE_ADDR", "REMOTE_PORT", "SERVER_PORT", "SERVER_NAME"}

func TestDoctorSaysWhetherNginxSendsRequests(t *testing.T) {
	to := func(by string, params ...string) []pass {
		return []pass{{"proxy_pass", []string{"127.0.0.1:80"}, "", nil}, {by, []string{"unix:/run/x.sock"}, "example.org", params}}
	}
	below := &config.Config{Worker: config.Worker{ExecStart: []string{"scgi-cgi", "--root", "/usr/lib/cgi-bin"}}}
	for _, c := range []struct {
		what       string
		running    bool
		passes     []pass
		conf       *config.Config
		grade      grade
		text, hint string
	}{
		{"all is right", true, to("scgi_pass", full...), nil, good, "scgi_pass of example.org leads here", ""},
		{"no include", true, to("scgi_pass"), nil, bad, "leads here without REQUEST_METHOD and REQUEST_URI", "include scgi_params;"},
		{"some are missing", true, to("scgi_pass", "REQUEST_METHOD", "REQUEST_URI"), nil, notable, "without QUERY_STRING, CONTENT_TYPE", "include scgi_params;"},
		{"HTTP", true, to("proxy_pass", full...), nil, bad, "proxy_pass of example.org leads to this socket", "scgi_pass unix:/run/x.sock;"},
		{"no program", true, to("scgi_pass", full...), below, bad, "without SCRIPT_FILENAME", "SCRIPT_FILENAME /usr/lib/cgi-bin$document_uri;"},
		{"a program", true, to("scgi_pass", append([]string{"SCRIPT_FILENAME"}, full...)...), below, good, "leads here", ""},
		{"it is stopped", false, to("scgi_pass", full...), nil, notable, "nginx does not run", "systemctl start nginx"},
		{"another site's", true, to("scgi_pass", full...)[:1], nil, notable, "no scgi_pass of its configuration leads to /run/x.sock", "location / { include scgi_params; scgi_pass unix:/run/x.sock; }"},
		{"another web server", false, nil, nil, skipped, "it does not run", ""},
		{"a variable", true, []pass{{"scgi_pass", []string{"unix:/run/$host.sock"}, "", full}}, nil, skipped, "has a variable", ""},
	} {
		d := &doctor{name: "x", conf: c.conf, where: []string{"/run/x.sock"}, nginx: &nginxConf{running: c.running, passes: c.passes}}
		d.checkNginx(t.Context())
		if len(d.checks) != 1 || d.checks[0].Grade != c.grade || !strings.Contains(d.checks[0].Text, c.text) || !strings.Contains(d.checks[0].Hint, c.hint) {
			t.Errorf("%s: %+v", c.what, d.checks)
		}
	}
	d := &doctor{name: "x", where: []string{"/run/x.sock"}}
	if d.checkNginx(t.Context()); len(d.checks) > 0 {
		t.Errorf("without nginx: %+v", d.checks)
	}
}

// Django answers so, whatever the path, until it is asked for its own name.
func TestDoctorAsksForTheSite(t *testing.T) {
	s := newSite(t, "good", "ListenMode=0666", serving)
	nginx := filepath.Join(s.dir, "scgid-nginx")
	text := "#!/bin/sh\ncat <<end\n" + nginxFile + "/x:\nserver { server_name wiki.example.org; location / { scgi_pass unix:" + s.listen + "; } }\nend\n"
	if err := os.WriteFile(nginx, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv(envNginx, nginx)
	d, _ := s.doctor("--uri", "/django")
	i := slices.IndexFunc(d.Checks, func(k check) bool { return k.Check == "request" })
	if k := d.Checks[i]; k.Grade != notable || !strings.Contains(k.Text, `GET /django: 400`) || !strings.Contains(k.Text, `does not take the host "localhost"`) ||
		k.Hint != "scgictl doctor --config "+s.conf+" --host wiki.example.org" {
		t.Errorf("%+v", k)
	}
	if i := slices.IndexFunc(d.Checks, func(k check) bool { return k.Check == "nginx" }); i < 0 || d.Checks[i].Grade != bad {
		t.Errorf("nginx: %s", findings(d))
	}
	d, _ = s.doctor("--uri", "/django", "--host", "wiki.example.org")
	if k := d.Checks[i]; k.Grade != good {
		t.Errorf("%+v", k)
	}
}
