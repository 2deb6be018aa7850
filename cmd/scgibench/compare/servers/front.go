package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// parameters are what nginx sends to an application server, as its own files
// scgi_params and fastcgi_params have them. The values that a Unix socket has
// not got are made up: an application may want them.
func (k *Kit) parameters(app App) [][2]string {
	script, path := "", "$document_uri"
	if strings.HasPrefix(app.Name, "cgi") || app.Name == "php" {
		script, path = "$document_uri", ""
	}
	return [][2]string{
		{"QUERY_STRING", "$query_string"}, {"REQUEST_METHOD", "$request_method"}, {"CONTENT_TYPE", "$content_type"},
		{"CONTENT_LENGTH", "$content_length"}, {"REQUEST_URI", "$request_uri"}, {"DOCUMENT_URI", "$document_uri"},
		{"SCRIPT_NAME", script}, {"PATH_INFO", path}, {"SCRIPT_FILENAME", k.dir + "$document_uri"},
		{"DOCUMENT_ROOT", k.dir}, {"SERVER_PROTOCOL", "$server_protocol"}, {"REQUEST_SCHEME", "$scheme"},
		{"GATEWAY_INTERFACE", "CGI/1.1"}, {"REMOTE_ADDR", "192.0.2.17"}, {"REMOTE_PORT", "52814"},
		{"SERVER_ADDR", "192.0.2.1"}, {"SERVER_PORT", "80"}, {"SERVER_NAME", "www.example.org"},
	}
}

// nginxConf is the configuration of an nginx that listens at dir/front and
// passes everything to addr.
func (k *Kit) nginxConf(kind Kind, p place) (string, error) {
	text, err := files.ReadFile("files/nginx.conf")
	if err != nil {
		return "", err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // the sockets are ours
	}
	return strings.NewReplacer("DIR", p.dir, "USER", user, "PASS", k.pass(kind, p)).Replace(string(text)), nil
}

// pass are the directives that reach the server.
func (k *Kit) pass(kind Kind, p place) string {
	if kind.pass == "proxy_pass" {
		return "proxy_pass http://unix:" + p.addr + ":;\nproxy_set_header Host $host;"
	}
	var b strings.Builder
	protocol := strings.TrimSuffix(kind.pass, "_pass")
	for _, v := range k.parameters(p.app) {
		if protocol == "scgi" && v[0] == "CONTENT_LENGTH" {
			v = [2]string{"SCGI", "1"} // nginx adds the length by itself, and this not
		}
		fmt.Fprintf(&b, "%s_param %s %q;\n", protocol, v[0], v[1])
	}
	fmt.Fprintf(&b, "%s unix:%s;", kind.pass, p.addr)
	return b.String()
}

// writeFiles writes what the server and its nginx read.
func (k *Kit) writeFiles(kind Kind, p place) error {
	if err := os.MkdirAll(filepath.Join(p.dir, "tmp"), 0o755); err != nil {
		return err
	}
	if p.app.Front {
		conf, err := k.nginxConf(kind, p)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(p.dir, "nginx.conf"), []byte(conf), 0o644); err != nil {
			return err
		}
	}
	if kind.pass != "fastcgi_pass" {
		return nil
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user = root\n"
	}
	conf := "[global]\nerror_log = /dev/stderr\n[www]\n" + user + "listen = " + p.addr +
		"\nlisten.backlog = 1024\npm = static\npm.max_children = " + strconv.Itoa(p.max) + "\n"
	return os.WriteFile(filepath.Join(p.dir, "fpm.conf"), []byte(conf), 0o644)
}
