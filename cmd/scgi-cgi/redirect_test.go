package main

import (
	"testing"

	"github.com/scgid/scgid/worker/scgi"
)

func TestSiteIsThatOfTheRequest(t *testing.T) {
	for _, test := range []struct {
		want string
		vars scgi.Header
	}{
		{"http://h.example", scgi.Header{{Name: "HTTP_HOST", Value: "h.example"}, {Name: "SERVER_NAME", Value: "s"}}},
		{"http://h.example:8080", scgi.Header{{Name: "HTTP_HOST", Value: "h.example:8080"}}},
		{"https://h", scgi.Header{{Name: "HTTP_HOST", Value: "h"}, {Name: "HTTPS", Value: "on"}}},
		{"https://h", scgi.Header{{Name: "HTTP_HOST", Value: "h"}, {Name: "HTTPS", Value: ""}, {Name: "REQUEST_SCHEME", Value: "https"}}},
		{"http://h", scgi.Header{{Name: "HTTP_HOST", Value: "h"}, {Name: "HTTPS", Value: "off"}, {Name: "REQUEST_SCHEME", Value: "https"}}},
		{"http://s", scgi.Header{{Name: "SERVER_NAME", Value: "s"}, {Name: "SERVER_PORT", Value: "80"}}},
		{"http://s:81", scgi.Header{{Name: "SERVER_NAME", Value: "s"}, {Name: "SERVER_PORT", Value: "81"}}},
		{"https://s", scgi.Header{{Name: "SERVER_NAME", Value: "s"}, {Name: "SERVER_PORT", Value: "443"}, {Name: "HTTPS", Value: "1"}}},
		{"http://[::1]:81", scgi.Header{{Name: "SERVER_NAME", Value: "[::1]"}, {Name: "SERVER_PORT", Value: "81"}}},
		{"http://s", scgi.Header{{Name: "HTTP_HOST", Value: "evil\r\nX-Injected: 1"}, {Name: "SERVER_NAME", Value: "s"}}},
		{"http://s", scgi.Header{{Name: "HTTP_HOST", Value: "a/b"}, {Name: "SERVER_NAME", Value: "s"}}},
		{"", scgi.Header{{Name: "HTTP_HOST", Value: "a b"}, {Name: "SERVER_NAME", Value: "c d"}}},
		{"", nil},
	} {
		if got := siteURL(test.vars); got != test.want {
			t.Errorf("%q: got %q, want %q", test.vars, got, test.want)
		}
	}
}

// What is different behind each web server is one
// thing behind all of them.
func TestEveryLocationBecomesAWholeURL(t *testing.T) {
	const site = "https://h.example"
	for in, want := range map[string]string{
		"Location: /x?y#z\n\n":             "Status: 302 Found\r\nLocation: https://h.example/x?y#z\r\n\r\n",
		"location: /x\nStatus: 200 OK\n\n": "Status: 200 OK\r\nlocation: https://h.example/x\r\n\r\n",
		"Status: 303\nLocation: /x\n\n":    "Status: 303 See Other\r\nLocation: https://h.example/x\r\n\r\n",
		"Location: //o.example/x\n\n":      "Status: 302 Found\r\nLocation: https://o.example/x\r\n\r\n",
		"Location: http://o.example/\n\n":  "Status: 302 Found\r\nLocation: http://o.example/\r\n\r\n",
		"Location: x\nStatus: 302\n\n":     "Status: 302 Found\r\nLocation: x\r\n\r\n", // the client knows beneath what
		"X: /x\n\n":                        "Status: 200 OK\r\nX: /x\r\n\r\n",
	} {
		if h, err := headOf(in, site); err != nil || string(h.text) != want {
			t.Errorf("%q: got %q, %v", in, h.text, err)
		}
	}
}

func TestRedirectsAreTheClientsWhereAskedFor(t *testing.T) {
	path := install(t, t.TempDir(), "go.sh", "#!/bin/sh\nprintf 'Location: /there\\n\\n'\n")
	for _, test := range []struct {
		flags    []string
		code     int // 0: no Status
		location string
	}{
		{nil, 0, "/there"},
		{[]string{"--absolute-redirects"}, 302, "http://h.example:8080/there"},
	} {
		m := startWorker(t, append(test.flags, path)...)
		r := m.ask("", "HTTP_HOST=h.example:8080")
		if got, _ := r.field("Location"); r.code != test.code || got != test.location {
			t.Errorf("%q: got %d to %q", test.flags, r.code, got)
		}
	}
}
