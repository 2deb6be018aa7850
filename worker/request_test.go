package worker

import (
	"context"
	"maps"
	"net/http/cgi"
	"reflect"
	"testing"

	"github.com/scgid/scgid/worker/scgi"
)

// vars makes a header of names and values.
func vars(pairs ...string) scgi.Header {
	h := scgi.Header{{Name: "REQUEST_METHOD", Value: "GET"}}
	for i := 0; i < len(pairs); i += 2 {
		h = append(h, scgi.Var{Name: pairs[i], Value: pairs[i+1]})
	}
	return h
}

func TestRequestURL(t *testing.T) {
	for _, test := range []struct {
		name             string
		vars             scgi.Header
		url, path, query string
	}{
		{"nginx", vars("REQUEST_URI", "/a%2Fb/c?x=1", "HTTP_HOST", "h:81"), "http://h:81/a%2Fb/c?x=1", "/a/b/c", "x=1"},
		{"https", vars("REQUEST_URI", "/", "HTTP_HOST", "h", "HTTPS", "On"), "https://h/", "/", ""},
		{"https off", vars("REQUEST_URI", "/", "HTTP_HOST", "h", "HTTPS", "off"), "http://h/", "/", ""},
		{"no host", vars("REQUEST_URI", "/x"), "/x", "/x", ""},
		{"two slashes", vars("REQUEST_URI", "//evil/x", "HTTP_HOST", "h"), "http://h//evil/x", "//evil/x", ""},
		{"two slashes, no host", vars("REQUEST_URI", "//evil/x"), "", "//evil/x", ""},
		{"path in host", vars("REQUEST_URI", "/x", "HTTP_HOST", "h/admin"), "", "/x", ""},
		{"absolute form", vars("REQUEST_URI", "http://u:p@other/x?y", "HTTP_HOST", "h"), "http://h/x?y", "/x", "y"},
		{"asterisk", vars("REQUEST_URI", "*", "HTTP_HOST", "h"), "*", "*", ""},
		{"no REQUEST_URI", vars("SCRIPT_NAME", "/s p", "PATH_INFO", "/p?q", "QUERY_STRING", "z=1", "HTTP_HOST", "h"),
			"http://h/s%20p/p%3Fq?z=1", "/s p/p?q", "z=1"},
		{"nothing at all", vars(), "/", "/", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := newRequest(test.vars)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.URL.String(); test.url != "" && got != test.url {
				t.Errorf("URL %q, want %q", got, test.url)
			}
			if r.URL.Path != test.path || r.URL.RawQuery != test.query {
				t.Errorf("path %q, query %q, want %q, %q", r.URL.Path, r.URL.RawQuery, test.path, test.query)
			}
		})
	}
}

func TestAnOrdinaryRequestIsThatOfNetHTTPCGI(t *testing.T) {
	for _, h := range []scgi.Header{
		browserVars(),
		append(browserVars(), scgi.Var{Name: "HTTPS", Value: "on"}, scgi.Var{Name: "CONTENT_TYPE", Value: "text/plain"},
			scgi.Var{Name: "CONTENT_LENGTH", Value: "7"}, scgi.Var{Name: "HTTP_X_Y", Value: "1"}, scgi.Var{Name: "HTTP_X_Y", Value: "2"}),
		vars("REQUEST_URI", "/", "SERVER_PROTOCOL", "HTTP/1.0", "HTTP_HOST", "h", "REMOTE_PORT", "none"),
	} {
		got, err := newRequest(h)
		if err != nil {
			t.Fatal(err)
		}
		want, err := cgi.RequestFromMap(h.Map())
		if err != nil {
			t.Fatal(err)
		}
		want.RequestURI = h.Get("REQUEST_URI") // cgi leaves it empty
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%+v, want\n%+v", got, want)
		}
	}
}

func TestRequestRefused(t *testing.T) {
	for _, h := range []scgi.Header{
		{{Name: "REQUEST_URI", Value: "/"}},
		vars("REQUEST_URI", "x"),
		vars("REQUEST_URI", "/%zz"),
		vars("REQUEST_URI", "/a\nb"),
	} {
		if r, err := newRequest(h); err == nil {
			t.Errorf("%v gave URL %v", h, r.URL)
		}
	}
}

func TestRequestFieldsThatMislead(t *testing.T) {
	r, err := newRequest(vars("REQUEST_URI", "/", "CONTENT_LENGTH", "5", "CONTENT_TYPE", "text/a", "HTTP_CONTENT_TYPE", "text/b",
		"HTTP_CONTENT_LENGTH", "99", "HTTP_TRANSFER_ENCODING", "chunked", "HTTP_PROXY", "http://evil", "HTTP_", "x", "HTTP_A B", "x",
		"HTTP_X", "a\nb", "HTTP_COOKIE", "a=1", "HTTP_COOKIE", "b=2", "HTTP_X_Y", "1", "HTTP_X_Y", "2", "HTTP_HOST", "h",
		"SERVER_PROTOCOL", "HTTP/2", "REMOTE_ADDR", "::1", "REMOTE_PORT", "7"))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for name := range r.Header {
		got[name] = r.Header.Get(name)
	}
	if want := map[string]string{"Content-Type": "text/a", "Cookie": "a=1; b=2", "X-Y": "1, 2"}; !maps.Equal(got, want) {
		t.Errorf("header %v, want %v", got, want)
	}
	if r.ContentLength != 5 || len(r.TransferEncoding) > 0 || r.Host != "h" || r.RemoteAddr != "[::1]:7" || r.TLS != nil {
		t.Errorf("%+v", r)
	}
}

func TestVarsAndProcessEnv(t *testing.T) {
	h := vars("REQUEST_URI", "/", "REMOTE_USER", "u", "HTTP_X", "1", "DOCUMENT_ROOT", "/srv")
	ctx := context.WithValue(context.Background(), varsKey{}, h)
	if Vars(ctx).Get("REMOTE_USER") != "u" || Vars(context.Background()) != nil {
		t.Error("Vars does not give the request's variables")
	}
	r, err := newRequest(h)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"REMOTE_USER": "u", "DOCUMENT_ROOT": "/srv"}
	if got := ProcessEnv(r.WithContext(ctx)); !maps.Equal(got, want) {
		t.Errorf("ProcessEnv %v, want %v", got, want)
	}
}
