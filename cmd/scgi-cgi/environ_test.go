package main

import (
	"io"
	"log"
	"maps"
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
	{"REDIRECT_REDIRECT_URL", "/x", "REDIRECT_REDIRECT_URL=/x"},
	{"REDIRECT_HTTP_AUTHORIZATION", "Basic secret", ""},
	{"REDIRECT_REDIRECT_HTTP_AUTHORIZATION", "Basic secret", ""},
	{"REDIRECT_HTTP_PROXY", "http://evil", ""},
	{"SSL_CIPHER_USEKEYSIZE", "256", "SSL_CIPHER_USEKEYSIZE=256"},
	{"CONTEXT_DOCUMENT_ROOT", "/srv", "CONTEXT_DOCUMENT_ROOT=/srv"},
	{"DOCUMENT_URI", "/x", "DOCUMENT_URI=/x"},
	{"UNIQUE_ID", "x", "UNIQUE_ID=x"},
	{"AUTHENTICATE_CN", "Alice", "AUTHENTICATE_CN=Alice"},
	{"GIT_PROJECT_ROOT", "/srv/git", ""},
	{"lower", "case", ""},
	{"http_proxy", "http://evil", ""},
	{"HTTP_proxy", "http://evil", ""},
	{"HTTP_PROXy", "http://evil", ""},
	{"SERVER_NAME", "", "SERVER_NAME=localhost"},
	{"REQUEST_METHOD", "", "REQUEST_METHOD=GET"},
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

// quiet is a log that nobody reads.
var quiet = log.New(io.Discard, "", 0)

func testEnvironment(passRequestVar ...string) *environment {
	return newEnvironment(&options{passRequestVar: passRequestVar}, quiet)
}

// environOf returns what a program gets of a request with these variables.
func environOf(e *environment, vars ...scgi.Var) map[string]string {
	got := make(map[string]string)
	for _, pair := range e.forRequest(&scgi.Request{Header: vars}, script{}) {
		name, value, _ := strings.Cut(pair, "=")
		got[name] = value
	}
	return got
}

func TestEnvironmentIsScrubbed(t *testing.T) {
	e := testEnvironment()
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
	e := newEnvironment(&options{env: []string{"PATH=/first", "PATH=/opt/bin", "REMOTE_USER=fixed"}, authorization: true}, quiet)
	h = append(h, scgi.Var{Name: "REMOTE_USER", Value: "other"}, scgi.Var{Name: "HTTP_AUTHORIZATION", Value: "Basic x"})
	vars := e.forRequest(&scgi.Request{Header: h, ContentLength: 7}, script{vars: []scgi.Var{{Name: "SCRIPT_FILENAME", Value: "/y"}}})
	vars = slices.DeleteFunc(vars, func(s string) bool { return isLocal(s[:strings.IndexByte(s, '=')]) })
	slices.Sort(vars)
	want := []string{
		"CONTENT_LENGTH=7", "GATEWAY_INTERFACE=CGI/1.1", "HTTP_AUTHORIZATION=Basic x", "HTTP_COOKIE=a=1; b=2", "PATH=/opt/bin",
		"QUERY_STRING=", "REMOTE_ADDR=10.0.0.2", "REMOTE_USER=fixed", "REQUEST_METHOD=GET", "SCRIPT_FILENAME=/y", "SCRIPT_NAME=",
		"SERVER_NAME=localhost", "SERVER_PORT=80", "SERVER_PROTOCOL=HTTP/1.0", "SERVER_SOFTWARE=scgid",
	}
	if !slices.Equal(vars, want) {
		t.Errorf("got  %q\nwant %q", vars, want)
	}
}

// steering are variables with which shells, interpreters, libraries and tools
// load or run what the variable names, or trust what it says.
var steering = strings.Fields(`
	LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT LD_DEBUG LD_DEBUG_OUTPUT LD_ORIGIN_PATH LD_PROFILE LD_BIND_NOW GCONV_PATH GETCONF_DIR
	GLIBC_TUNABLES HOSTALIASES LOCALDOMAIN LOCPATH NLSPATH RESOLV_HOST_CONF RES_OPTIONS MALLOC_TRACE MALLOC_CHECK_ TMPDIR TMP TEMP
	TZ TZDIR LANG LANGUAGE LC_ALL LC_MESSAGES
	PATH HOME USER LOGNAME SHELL IFS ENV BASH_ENV BASHOPTS SHELLOPTS CDPATH PS4 PROMPT_COMMAND GLOBIGNORE FPATH ZDOTDIR KSH_ENV
	HISTFILE EXECIGNORE BASH_FUNC_ls BASH_XTRACEFD POSIXLY_CORRECT COLUMNS TERM TERMINFO TERMCAP INPUTRC
	PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONINSPECT PYTHONUSERBASE PYTHONWARNINGS PYTHONBREAKPOINT PYTHONPYCACHEPREFIX PYTHONEXECUTABLE
	PERL5LIB PERLLIB PERL5OPT PERL5DB PERL5SHELL PERL_MB_OPT PERL_HASH_SEED PERLIO RUBYLIB RUBYOPT RUBYSHELL GEM_HOME GEM_PATH BUNDLE_GEMFILE
	NODE_OPTIONS NODE_PATH NODE_EXTRA_CA_CERTS NPM_CONFIG_PREFIX LUA_PATH LUA_CPATH LUA_INIT LUA_INIT_5_4 GUILE_LOAD_PATH
	PHPRC PHP_INI_SCAN_DIR PHP_VALUE PHP_ADMIN_VALUE CLASSPATH JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS _JAVA_OPTIONS JAVA_HOME
	TCLLIBPATH TCL_LIBRARY ERL_LIBS ERL_FLAGS ERL_AFLAGS R_PROFILE R_ENVIRON R_LIBS R_HOME OCAMLRUNPARAM CAML_LD_LIBRARY_PATH GHCRTS
	GODEBUG GOTRACEBACK GOMAXPROCS DOTNET_STARTUP_HOOKS COMPlus_EnableDiagnostics CORECLR_PROFILER CORECLR_ENABLE_PROFILING MONO_PATH
	AWKPATH AWKLIBPATH TAR_OPTIONS TAPE RSH GZIP BZIP BZIP2 XZ_OPT XZ_DEFAULTS ZIPOPT UNZIP UNZIPOPT GREP_OPTIONS LESSOPEN LESSCLOSE LESS
	EDITOR VISUAL PAGER BROWSER MANPAGER MAKEFLAGS MAKEFILES CC CFLAGS PKG_CONFIG_PATH MAGIC DIFF_OPTIONS
	GIT_EXEC_PATH GIT_SSH GIT_SSH_COMMAND GIT_PROXY_COMMAND GIT_EXTERNAL_DIFF GIT_EDITOR GIT_PAGER GIT_ASKPASS SSH_ASKPASS GIT_TEMPLATE_DIR
	GIT_CONFIG GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_VALUE_0 GIT_CONFIG_GLOBAL GIT_CONFIG_SYSTEM GIT_CONFIG_PARAMETERS GIT_DIR
	GIT_WORK_TREE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_TRACE GIT_PROJECT_ROOT GIT_HTTP_EXPORT_ALL GIT_PROTOCOL
	HGRCPATH HGPLAIN SVN_SSH CVS_RSH CVSROOT RSYNC_RSH RSYNC_CONNECT_PROG RSYNC_PROXY GITWEB_CONFIG CGIT_CONFIG MS_MAPFILE
	CURL_HOME WGETRC NETRC http_proxy https_proxy HTTPS_PROXY ALL_PROXY NO_PROXY FTP_PROXY HTTP_PROXY CGI_HTTP_PROXY
	OPENSSL_CONF OPENSSL_ENGINES OPENSSL_MODULES SSL_CERT_FILE SSL_CERT_DIR SSLKEYLOGFILE CURL_CA_BUNDLE REQUESTS_CA_BUNDLE GNUPGHOME
	KRB5_CONFIG KRB5CCNAME XDG_CONFIG_HOME XDG_DATA_DIRS DBUS_SYSTEM_BUS_ADDRESS DBUS_SESSION_BUS_ADDRESS SSH_AUTH_SOCK DISPLAY XAUTHORITY
	PGSERVICEFILE PGPASSFILE PGHOST PGSYSCONFDIR MYSQL_HOME ODBCINI FREETDS AWS_ACCESS_KEY_ID AWS_CONFIG_FILE DOCKER_HOST KUBECONFIG
	GS_LIB GS_OPTIONS MAGICK_CONFIGURE_PATH MAGICK_CODER_MODULE_PATH GDK_PIXBUF_MODULE_FILE GTK_MODULES QT_PLUGIN_PATH FONTCONFIG_FILE
	TEXINPUTS TEXMFCNF PROJ_LIB GDAL_DRIVER_PATH GST_PLUGIN_PATH LIBGL_DRIVERS_PATH VIMINIT EXINIT LV2_PATH SASL_PATH PKCS11_MODULE_PATH
	NOTIFY_SOCKET WATCHDOG_PID WATCHDOG_USEC INVOCATION_ID JOURNAL_STREAM LISTEN_FDS LISTEN_PID LISTEN_FDNAMES CREDENTIALS_DIRECTORY
	SYSTEMD_LOG_LEVEL SYSTEMD_PAGER SCGID_WORKER_FD SCGID_PAGE_FD SCGI CATALINA_OPTS DJANGO_SETTINGS_MODULE FLASK_APP RAILS_ENV`)

// Whatever a client or a web server sends, a program's tools are steered by
// nobody but the operator.
func TestNoVariableThatSteersProgramsComesFromARequest(t *testing.T) {
	e := testEnvironment()
	e.names["TZ"], e.names["LANG"], e.names["LANGUAGE"] = true, true, true
	for _, name := range steering {
		const evil = "/evil"
		if got := environOf(e, scgi.Var{Name: name, Value: evil}); got[name] == evil {
			t.Errorf("%s gets through", name)
		}
		// What the operator says counts.
		own := newEnvironment(&options{env: []string{name + "=mine"}}, quiet)
		if got := environOf(own, scgi.Var{Name: name, Value: evil}); got[name] != "mine" {
			t.Errorf("--env %s=mine: the program has %q", name, got[name])
		}
	}
	if len(steering) < 80 {
		t.Errorf("only %d variables are tried", len(steering))
	}
}

func TestVariablesOfRequestsPassWhereTheOperatorNamesThem(t *testing.T) {
	e := testEnvironment("CGIT_CONFIG", "MELLON_*")
	got := environOf(e, scgi.Var{Name: "CGIT_CONFIG", Value: "a"}, scgi.Var{Name: "CGIT_CONFIG2", Value: "b"},
		scgi.Var{Name: "MELLON_NAME_ID", Value: "c"}, scgi.Var{Name: "MELLON", Value: "d"})
	if got["CGIT_CONFIG"] != "a" || got["MELLON_NAME_ID"] != "c" || len(got["CGIT_CONFIG2"]+got["MELLON"]) > 0 {
		t.Errorf("got %q", got)
	}
}

// The log names each variable once, however often it comes, and has the sum.
func TestVariablesThatDoNotPassAreLoggedOnceAndCounted(t *testing.T) {
	path := install(t, t.TempDir(), "hello.sh", "#!/bin/sh"+hello)
	m := startWorker(t, path)
	for range 3 {
		m.ask("", "TAR_OPTIONS=--checkpoint=1", "PATH=/apache", "HTTP_PROXY=x", "A\x1bB=x")
	}
	log := m.endLog()
	for _, want := range []string{
		`the request's variable "TAR_OPTIONS" does not reach programs; if they need it: --pass-request-var "TAR_OPTIONS"` + "\n",
		`"A\x1bB" is not the name of a variable, leaving it out` + "\n", "6 variables of requests did not reach programs\n",
	} {
		if strings.Count(log, want) != 1 {
			t.Errorf("the log has not once %q:\n%s", want, log)
		}
	}
	if strings.Count(log, "\n") != 3 {
		t.Errorf("the log says more:\n%s", log)
	}
}

func TestTimeZoneAndLocaleReachPrograms(t *testing.T) {
	for name, value := range map[string]string{"TZ": "Europe/Zurich", "LANG": "de_CH.UTF-8", "LC_COLLATE": "C", "LOCPATH": "/x"} {
		t.Setenv(name, value)
	}
	path := install(t, t.TempDir(), "env.sh", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nenv\n")
	m := startWorker(t, "--env", "LANG=C", path)
	r := m.ask("", "TZ=/evil", "LC_COLLATE=evil", "LC_TIME=evil")
	lines := strings.Split(r.body, "\n")
	for line, want := range map[string]bool{
		"TZ=Europe/Zurich": true, "LANG=C": true, "LC_COLLATE=C": true, "LOCPATH=/x": false, "LC_TIME=evil": false, "LANG=de_CH.UTF-8": false,
	} {
		if slices.Contains(lines, line) != want {
			t.Errorf("%s: want %v in\n%s", line, want, r.body)
		}
	}
}

// RFC 3875, 4.1. What a web server leaves out or sends empty is filled.
func TestRequiredVariablesAreNeverMissingOrEmpty(t *testing.T) {
	defaults := map[string]string{
		"GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "GET", "SERVER_NAME": "localhost", "SERVER_PORT": "80",
		"SERVER_PROTOCOL": "HTTP/1.0", "SERVER_SOFTWARE": "scgid", "REMOTE_ADDR": "0.0.0.0", "QUERY_STRING": "", "SCRIPT_NAME": "",
	}
	for _, test := range []struct{ vars, want string }{
		{"", ""},
		{"SERVER_NAME= SERVER_PORT= REMOTE_ADDR= REQUEST_METHOD= SERVER_PROTOCOL= SERVER_SOFTWARE=", ""},
		{"HTTP_HOST=h.example SERVER_NAME= SERVER_PORT=", "SERVER_NAME=h.example"},
		{"HTTP_HOST=h.example:8080", "SERVER_NAME=h.example SERVER_PORT=8080"},
		{"HTTP_HOST=h.example HTTPS=on", "SERVER_NAME=h.example SERVER_PORT=443"},
		{"HTTP_HOST=h.example REQUEST_SCHEME=https", "SERVER_NAME=h.example SERVER_PORT=443"},
		{"HTTP_HOST=[::1]:81", "SERVER_NAME=[::1] SERVER_PORT=81"},
		{"HTTP_HOST=[::1]", "SERVER_NAME=[::1]"},
		{"HTTP_HOST=a/b", ""},
		{"HTTP_HOST=a:b:c", ""},
		{"HTTP_HOST=::1", ""},
		{"HTTP_HOST=h.example:evil", "SERVER_NAME=h.example"},
		{"HTTP_HOST=h:81 SERVER_NAME=s SERVER_PORT=82", "SERVER_NAME=s SERVER_PORT=82"},
		{"SERVER_SOFTWARE=nginx REMOTE_ADDR=unix: REQUEST_METHOD=PUT", "SERVER_SOFTWARE=nginx REMOTE_ADDR=unix: REQUEST_METHOD=PUT"},
		{"DOCUMENT_URI=/a/b PATH_INFO=/b", "SCRIPT_NAME=/a"},
		{"REQUEST_URI=/a%20b?c", "SCRIPT_NAME=/a_b"},
	} {
		var vars []scgi.Var
		for _, pair := range strings.Fields(test.vars) {
			name, value, _ := strings.Cut(pair, "=")
			vars = append(vars, scgi.Var{Name: name, Value: value})
		}
		got, want := environOf(testEnvironment(), vars...), maps.Clone(defaults)
		for _, pair := range strings.Fields(test.want) {
			name, value, _ := strings.Cut(pair, "=")
			want[name] = strings.ReplaceAll(value, "_b", " b")
		}
		for name, value := range want {
			if has, ok := got[name]; !ok || has != value {
				t.Errorf("%q: %s is %q, %v; want %q", test.vars, name, has, ok, value)
			}
		}
	}
}
