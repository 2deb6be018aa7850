package config

import (
	"net/url"
	"strings"
)

// probe is the kind of a request's address: a path, or a URL for an
// application that looks at the host.
func probe(p func(*Config) *string) kind {
	k := kind{Type: "URI", Allowed: "a path such as /health, or an http URL such as http://wiki.example/health"}
	k.set = func(c *Config, v string) error {
		if v != "" && !probeOK(v) {
			return k.notAllowed()
		}
		*p(c) = v
		return nil
	}
	k.text = func(c *Config) []string {
		if *p(c) == "" {
			return nil
		}
		return []string{*p(c)} // a % is a URI's there
	}
	return k
}

func probeOK(v string) bool {
	if strings.ContainsAny(v, " #") || len(v) > 1024 {
		return false
	}
	u, err := url.ParseRequestURI(v)
	if err != nil || u.User != nil {
		return false
	}
	if strings.HasPrefix(v, "/") {
		return !strings.HasPrefix(v, "//")
	}
	return u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}
