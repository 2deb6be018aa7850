package main

import (
	"net"
	"strings"

	"github.com/scgid/scgid/worker/scgi"
)

// siteURL returns scheme and host of the URL that the client asked for, "" when
// the request does not tell them. The host is the client's word: one with
// characters that no host has would get into the header of the reply, so then
// the web server's own name is taken.
func siteURL(h scgi.Header) string {
	scheme, usual := scheme(h)
	host := h.Get("HTTP_HOST")
	if !isHost(host) {
		host = h.Get("SERVER_NAME")
		if port := h.Get("SERVER_PORT"); port != "" && port != usual && isHost(host) {
			host = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
	}
	if !isHost(host) {
		return ""
	}
	return scheme + "://" + host
}

// scheme returns the scheme of the URL that the client asked for, and its usual
// port.
func scheme(h scgi.Header) (name, port string) {
	switch https := strings.ToLower(h.Get("HTTPS")); {
	case https == "on", https == "1", https == "" && h.Get("REQUEST_SCHEME") == "https":
		return "https", "443"
	}
	return "http", "80"
}

// isHost tells whether s has only the characters of a host and a port.
func isHost(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~:[]", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// whole makes a whole URL of a Location without scheme; site is that of siteURL.
func whole(site, location string) string {
	switch {
	case site == "" || !strings.HasPrefix(location, "/"):
		return location
	case strings.HasPrefix(location, "//"):
		scheme, _, _ := strings.Cut(site, "//")
		return scheme + location
	}
	return site + location
}
