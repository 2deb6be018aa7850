package python_test

import "testing"

// PEERS.md test 7.
var placeTests = []struct {
	name         string
	mount        string
	vars         []string
	script, path string
}{
	{"nginx", "", []string{"DOCUMENT_URI", "/a b/c", "REQUEST_URI", "/a%20b/c?x"}, "", "/a b/c"},
	{"nginx without document", "", []string{"REQUEST_URI", "/a%20b/%C3%A9?x=%20"}, "", "/a b/\u00c3\u00a9"},
	{"nginx root", "", []string{"DOCUMENT_URI", "/"}, "", "/"},
	{"nginx at a mount", "", []string{"SCRIPT_NAME", "/app", "DOCUMENT_URI", "/app/x"}, "/app", "/x"},
	{"nginx at a mount, root", "", []string{"SCRIPT_NAME", "/app", "DOCUMENT_URI", "/app"}, "/app", ""},
	{"nginx, mount not above", "", []string{"SCRIPT_NAME", "/app", "DOCUMENT_URI", "/apple"}, "", "/app"},
	{"nginx, both the whole", "", []string{"SCRIPT_NAME", "/x", "PATH_INFO", "/x", "DOCUMENT_URI", "/x"}, "", "/x"},
	{"apache", "", []string{"SCRIPT_NAME", "/a/b", "SCRIPT_FILENAME", "proxy:scgi://127.0.0.1:4000/a/b", "REQUEST_URI", "/a/b?q"}, "", "/a/b"},
	{"apache with pathinfo", "", []string{"SCRIPT_NAME", "/app", "PATH_INFO", "/b", "REQUEST_URI", "/app/b"}, "/app", "/b"},
	{"apache at a mount", "/app", []string{"SCRIPT_NAME", "/app/b", "REQUEST_URI", "/app/b"}, "/app", "/b"},
	{"lighttpd", "", []string{"SCRIPT_NAME", "/a/b", "SCRIPT_FILENAME", "/srv/a/b", "REQUEST_URI", "/a/b"}, "", "/a/b"},
	{"lighttpd root", "", []string{"SCRIPT_NAME", "/", "REQUEST_URI", "/"}, "", "/"},
	{"lighttpd split", "", []string{"SCRIPT_NAME", "/app", "PATH_INFO", "/x", "REQUEST_URI", "/app/x"}, "/app", "/x"},
	{"lighttpd fixed root", "", []string{"SCRIPT_NAME", "", "PATH_INFO", "/x", "REQUEST_URI", "/x"}, "", "/x"},
	{"caddy", "", []string{"SCRIPT_NAME", "/app", "PATH_INFO", "", "REQUEST_URI", "/app"}, "/app", ""},
	{"right", "", []string{"SCRIPT_NAME", "/app", "PATH_INFO", "/", "REQUEST_URI", "/app/"}, "/app", "/"},
	{"right, repeated segment", "", []string{"SCRIPT_NAME", "/a", "PATH_INFO", "/a", "REQUEST_URI", "/a/a"}, "/a", "/a"},
	{"script with slash", "", []string{"SCRIPT_NAME", "/app/", "PATH_INFO", "x", "REQUEST_URI", "/app/x"}, "/app", "/x"},
	{"only path info", "", []string{"PATH_INFO", "/x", "REQUEST_URI", "/x"}, "", "/x"},
	{"lighttpd's own idea of a root", "/", []string{"SCRIPT_NAME", "/a", "PATH_INFO", "/b", "REQUEST_URI", "/a/b"}, "", "/a/b"},
	{"root as a mount", "/", []string{"DOCUMENT_URI", "/"}, "", "/"},
	{"mount", "/app", []string{"DOCUMENT_URI", "/app/x"}, "/app", "/x"},
	{"mount with slash", "/app/", []string{"DOCUMENT_URI", "/app/x"}, "/app", "/x"},
	{"mount itself", "/app", []string{"DOCUMENT_URI", "/app"}, "/app", ""},
	{"mount, segment boundary", "/app", []string{"DOCUMENT_URI", "/apple"}, "", "/apple"},
	{"mount, already split", "/app", []string{"SCRIPT_NAME", "/app", "PATH_INFO", "/x", "REQUEST_URI", "/app/x"}, "/app", "/x"},
	{"mount, split elsewhere", "/a/b", []string{"SCRIPT_NAME", "/a", "PATH_INFO", "/b/c", "REQUEST_URI", "/a/b/c"}, "/a/b", "/c"},
	{"mount, not under it", "/app", []string{"DOCUMENT_URI", "/other"}, "", "/other"},
	{"encoded slash", "", []string{"REQUEST_URI", "/a%2Fb"}, "", "/a/b"},
	{"double slash", "", []string{"REQUEST_URI", "//host/x"}, "", "//host/x"},
	{"parameters", "", []string{"REQUEST_URI", "/a;b=1/c"}, "", "/a;b=1/c"},
	{"dots", "", []string{"REQUEST_URI", "/a/../b"}, "", "/a/../b"},
	{"broken escape", "", []string{"REQUEST_URI", "/a%2/%zz"}, "", "/a%2/%zz"},
	{"absolute", "", []string{"REQUEST_URI", "http://h.example:80/a%20b?q"}, "", "/a b"},
	{"absolute without path", "", []string{"REQUEST_URI", "http://h.example?q"}, "", "/"},
	{"asterisk", "", []string{"REQUEST_URI", "*", "REQUEST_METHOD", "OPTIONS"}, "", ""},
	{"asterisk, apache", "", []string{"SCRIPT_NAME", "*", "REQUEST_URI", "*", "REQUEST_METHOD", "OPTIONS"}, "", ""},
	{"nothing at all", "", nil, "", "/"},
}

func TestPlace(t *testing.T) {
	workers := map[string]*worker{}
	for _, test := range placeTests {
		w := workers[test.mount]
		if w == nil {
			args := []string{"app:application", "--validate"}
			if test.mount != "" {
				args = append(args, "--mount", test.mount)
			}
			w = start(t, args...)
			workers[test.mount] = w
		}
		vars := append([]string{"DOCUMENT_URI", absent, "REQUEST_URI", absent}, test.vars...)
		env := w.environ(get("env", vars...))
		if env["SCRIPT_NAME"] != test.script || env["PATH_INFO"] != test.path {
			t.Errorf("%s: got %q and %q, want %q and %q", test.name, env["SCRIPT_NAME"], env["PATH_INFO"], test.script, test.path)
		}
	}
	for _, w := range workers {
		w.silent()
	}
}

func TestQueryString(t *testing.T) {
	w := start(t, "app:application", "--validate")
	for uri, want := range map[string]string{"/a?b=%20c?d": "b=%20c?d", "/a": "", "/a?": "", "http://h/a?x": "x"} {
		env := w.environ(get("env", "QUERY_STRING", absent, "REQUEST_URI", uri))
		if env["QUERY_STRING"] != want {
			t.Errorf("%s: %q, want %q", uri, env["QUERY_STRING"], want)
		}
	}
	w.silent()
}
