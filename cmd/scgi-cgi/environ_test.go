package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/scgid/scgid/worker/scgi"
)

var environTests = []struct {
	name, value string
	want        string // the line of the environment, "" for none
}{
	{"HTTP_HOST", "example.org", "HTTP_HOST=example.org"},
	{"HTTP_X_ODD", "line\nbreak", "HTTP_X_ODD=line\nbreak"},
	{"REMOTE_USER", "alice", "REMOTE_USER=alice"},
	{"AUTH_TYPE", "Basic", "AUTH_TYPE=Basic"},
	{"HTTP_REMOTE_USER", "mallory", "HTTP_REMOTE_USER=mallory"}, // and REMOTE_USER stays what it is
	{"REDIRECT_STATUS", "200", "REDIRECT_STATUS=200"},
	{"HTTPS", "", "HTTPS="},
	{"SSL_CLIENT_S_DN", "CN=x", "SSL_CLIENT_S_DN=CN=x"},
	{"GIT_PROJECT_ROOT", "/srv/git", "GIT_PROJECT_ROOT=/srv/git"},
	{"CGIT_CONFIG", "/etc/cgitrc", "CGIT_CONFIG=/etc/cgitrc"},
	{"lower", "case", "lower=case"},
	{"CONTENT_TYPE", "text/plain", "CONTENT_TYPE=text/plain"},
	{"CONTENT_TYPE", "", ""},
	{"CONTENT_LENGTH", "17", ""}, // only the parsed one counts
	{"GATEWAY_INTERFACE", "evil", "GATEWAY_INTERFACE=CGI/1.1"},
	{"SERVER_SOFTWARE", "nginx/1.2", "SERVER_SOFTWARE=nginx/1.2"},
	{"SCGI", "1", ""},
	{"SCGID_WORKER_FD", "3", ""},
	{"SCGID_REQUEST", "7", ""},
	{"HTTP_PROXY", "http://evil", ""},
	{"HTTP_CONTENT_LENGTH", "5", ""},
	{"HTTP_CONTENT_TYPE", "x", ""},
	{"HTTP_TRANSFER_ENCODING", "chunked", ""},
	{"HTTP_AUTHORIZATION", "Basic secret", ""},
	{"HTTP_PROXY_AUTHORIZATION", "Basic secret", ""},
	{"LD_PRELOAD", "/evil.so", ""},
	{"LD_LIBRARY_PATH", "/evil", ""},
	{"PATH", "/evil", "PATH=" + defaultPath},
	{"IFS", "x", ""},
	{"ENV", "/evil", ""},
	{"BASH_ENV", "/evil", ""},
	{"BASH_FUNC_ls%%", "() { evil; }", ""},
	{"BASH_FUNC_ls", "evil", ""},
	{"HTTP_USER_AGENT", "() { :; }; evil", ""},
	{"PYTHONPATH", "/evil", ""},
	{"PYTHONSTARTUP", "/evil", ""},
	{"PERL5LIB", "/evil", ""},
	{"PERL5OPT", "-Mevil", ""},
	{"RUBYOPT", "-revil", ""},
	{"NODE_OPTIONS", "--require evil", ""},
	{"JAVA_TOOL_OPTIONS", "-javaagent:evil", ""},
	{"GCONV_PATH", "/evil", ""},
	{"GIT_SSH_COMMAND", "evil", ""},
	{"GIT_CONFIG_COUNT", "1", ""},
	{"NOTIFY_SOCKET", "/run/x", ""},
	{"LISTEN_FDS", "1", ""},
	{"A B", "x", ""},
	{"1A", "x", ""},
	{"A-B", "x", ""},
	{"A=B", "x", ""},
	{"Ä", "x", ""},
}

func TestEnvironmentIsScrubbed(t *testing.T) {
	e := newEnvironment(nil, false)
	for _, test := range environTests {
		vars := e.forRequest(&scgi.Request{Header: scgi.Header{{Name: test.name, Value: test.value}}}, script{})
		i := slices.IndexFunc(vars, func(s string) bool { return strings.HasPrefix(s, test.name+"=") })
		switch {
		case test.want == "" && i >= 0:
			t.Errorf("%s=%s gets through", test.name, test.value)
		case test.want != "" && (i < 0 || vars[i] != test.want):
			t.Errorf("%s=%s: want %q in %q", test.name, test.value, test.want, vars)
		}
	}
}

func TestEnvironmentNamesNothingTwice(t *testing.T) {
	h := scgi.Header{
		{Name: "HTTP_COOKIE", Value: "a=1"}, {Name: "REMOTE_ADDR", Value: "10.0.0.1"}, {Name: "HTTP_COOKIE", Value: "b=2"},
		{Name: "REMOTE_ADDR", Value: "10.0.0.2"}, {Name: "PATH", Value: "/evil"}, {Name: "SCRIPT_FILENAME", Value: "/x"},
	}
	e := newEnvironment([]string{"PATH=/first", "PATH=/opt/bin", "REMOTE_USER=fixed"}, true)
	h = append(h, scgi.Var{Name: "REMOTE_USER", Value: "other"}, scgi.Var{Name: "HTTP_AUTHORIZATION", Value: "Basic x"})
	vars := e.forRequest(&scgi.Request{Header: h, ContentLength: 7}, script{vars: []scgi.Var{{Name: "SCRIPT_FILENAME", Value: "/y"}}})
	slices.Sort(vars)
	want := []string{
		"CONTENT_LENGTH=7", "GATEWAY_INTERFACE=CGI/1.1", "HTTP_AUTHORIZATION=Basic x", "HTTP_COOKIE=a=1; b=2", "PATH=/opt/bin",
		"QUERY_STRING=", "REMOTE_ADDR=10.0.0.2", "REMOTE_USER=fixed", "SCRIPT_FILENAME=/y", "SERVER_SOFTWARE=scgid",
	}
	if !slices.Equal(vars, want) {
		t.Errorf("got  %q\nwant %q", vars, want)
	}
}
