package main

import (
	"net"
	"strings"

	"github.com/scgid/scgid/worker/scgi"
)

// knownNames are the variables, beside HTTP_* and REDIRECT_*, that a request may
// set. A list of what may not be set would never be complete: tar, git, each
// interpreter and each shell have variables that name code to run.
var knownNames = set(
	// RFC 3875, 4.1. CONTENT_LENGTH and GATEWAY_INTERFACE are set here.
	"AUTH_TYPE", "CONTENT_TYPE", "PATH_INFO", "PATH_TRANSLATED", "QUERY_STRING", "REMOTE_ADDR", "REMOTE_HOST",
	"REMOTE_IDENT", "REMOTE_USER", "REQUEST_METHOD", "SCRIPT_NAME", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL",
	"SERVER_SOFTWARE",
	// What nginx's scgi_params, Apache and lighttpd send beside these.
	"DOCUMENT_ROOT", "DOCUMENT_URI", "HTTPS", "REMOTE_PORT", "REQUEST_SCHEME",
	"REQUEST_URI", "SCRIPT_FILENAME", "SCRIPT_URI", "SCRIPT_URL", "SERVER_ADDR", "SERVER_ADMIN", "SERVER_SIGNATURE",
	"UNIQUE_ID",
	"HTTP2", "H2PUSH", // Apache's mod_http2
	// mod_ssl and lighttpd. Not all of SSL_*: SSL_CERT_FILE says whom to trust.
	"SSL_CIPHER", "SSL_COMPRESS_METHOD", "SSL_PROTOCOL", "SSL_SECURE_RENEG", "SSL_TLS_SNI",
)

var knownPrefixes = []string{
	"SSL_CIPHER_", "SSL_CLIENT_", "SSL_SERVER_", "SSL_SESSION_", "SSL_SRP_", "SSL_VERSION_",
	// Apache's core, mod_http2, mod_authn_dbd and mod_authnz_ldap.
	"CONTEXT_", "H2_", "AUTHENTICATE_", "AUTHORIZE_",
}

// withheldNames are variables that web servers and their clients send by
// themselves, and that no program should get from a request.
var withheldNames = set(
	// httpoxy: many HTTP libraries take it for their proxy setting.
	"HTTP_PROXY",
	// What is about the connection or about the body's framing is the server's;
	// RFC 3875, 4.1.18. Some web servers send these beside CONTENT_LENGTH.
	"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING",
	"HTTP_CONNECTION", "HTTP_KEEP_ALIVE", "HTTP_TE", "HTTP_TRAILER",
	// The client's password; --pass-authorization lets the first through.
	"HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION",
	// The server's to set.
	"CONTENT_LENGTH", "GATEWAY_INTERFACE", "SCGI",
	// Apache sends its own.
	"PATH", "LD_LIBRARY_PATH",
)

// neverEmpty are the variables of which an empty one is worth as much as none.
var neverEmpty = set("CONTENT_TYPE", "REQUEST_METHOD", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "SERVER_SOFTWARE", "REMOTE_ADDR")

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, name := range names {
		m[name] = true
	}
	return m
}

// require sets what RFC 3875, 4.1, demands where the web server has not. nginx
// on a Unix socket, for one, sends an empty SERVER_NAME and SERVER_PORT.
// set does nothing for what is set already.
func require(h scgi.Header, set func(name, value string)) {
	set("QUERY_STRING", "") // 4.1.7: set, if only to ""
	set("REQUEST_METHOD", "GET")
	set("SERVER_PROTOCOL", "HTTP/1.0") // what asks least of a program
	set("SERVER_SOFTWARE", "scgid")
	set("REMOTE_ADDR", "0.0.0.0") // not 127.0.0.1, which programs trust
	name, port := askedServer(h)
	set("SERVER_NAME", name)
	set("SERVER_PORT", port)
}

// askedServer returns the host and the port that the client asked for.
func askedServer(h scgi.Header) (name, port string) {
	name = h.Get("HTTP_HOST")
	if host, p, err := net.SplitHostPort(name); err == nil {
		name, port = host, p
		if strings.Contains(host, ":") {
			name = "[" + host + "]"
		}
	}
	if !isHost(name) || name[0] != '[' && strings.Contains(name, ":") {
		name, port = "localhost", ""
	}
	if port == "" || strings.Trim(port, "0123456789") != "" {
		_, port = scheme(h)
	}
	return name, port
}

// scriptName is the SCRIPT_NAME of a request that has none: its path without
// PATH_INFO, which vars may override. RFC 3875, 4.1.13: it may be empty.
func scriptName(h scgi.Header, vars scgi.Header) string {
	info, ok := vars.Lookup("PATH_INFO")
	if !ok {
		info = h.Get("PATH_INFO")
	}
	return strings.TrimSuffix(requestPath(h), info)
}
