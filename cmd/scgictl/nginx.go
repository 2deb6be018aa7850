package main

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// A directive is one of nginx's configuration, with those of its block.
type directive struct {
	words []string
	block []directive
}

func (d directive) name() string {
	if len(d.words) == 0 {
		return ""
	}
	return d.words[0]
}

// A pass is where nginx sends requests by one of its ..._pass directives.
type pass struct {
	by     string   // the directive
	to     []string // as it names them: an address, or those of an upstream
	site   string   // the server's first name that a request can have; empty: none
	params []string // of scgi_param there
}

// nginxFile begins each file in what nginx -T prints.
const nginxFile = "# configuration file "

// parseNginx reads what nginx -T prints, and returns the directives of the first
// file with those of the files that it includes in their places.
func parseNginx(dump string) []directive {
	files, order := map[string]string{}, []string(nil)
	for _, part := range strings.Split("\n"+dump, "\n"+nginxFile)[1:] {
		path, text, _ := strings.Cut(part, ":\n")
		files[path] = text
		order = append(order, path)
	}
	if len(order) == 0 {
		return nil
	}
	p := nginxParser{files: files, order: order, dir: filepath.Dir(order[0])}
	return p.file(order[0], 0)
}

// A nginxParser resolves include, which nginx -T does not.
type nginxParser struct {
	files map[string]string
	order []string
	dir   string // of names without a slash in front
}

// includesMost bounds files that include each other.
const includesMost = 16

func (p *nginxParser) file(path string, depth int) []directive {
	tokens := nginxTokens(p.files[path])
	all, _ := p.block(tokens, depth)
	return all
}

// block reads up to the end of a block, and returns what is behind it.
func (p *nginxParser) block(tokens []string, depth int) (all []directive, rest []string) {
	var words []string
	for len(tokens) > 0 {
		t := tokens[0]
		tokens = tokens[1:]
		switch t {
		case "\x00;":
			all = append(all, p.include(words, depth)...)
			words = nil
		case "\x00{":
			d := directive{words: words}
			d.block, tokens = p.block(tokens, depth)
			all, words = append(all, d), nil
		case "\x00}":
			return all, tokens
		default:
			words = append(words, t)
		}
	}
	return all, nil
}

// include returns a directive, or what it includes.
func (p *nginxParser) include(words []string, depth int) []directive {
	if len(words) != 2 || words[0] != "include" || depth == includesMost {
		return []directive{{words: words}}
	}
	pattern := words[1]
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(p.dir, pattern)
	}
	var all []directive
	for _, path := range p.order {
		if ok, _ := filepath.Match(pattern, path); ok || path == pattern {
			all = append(all, p.file(path, depth+1)...)
		}
	}
	return all
}

// nginxTokens are words without their quotes, and ; { } with a NUL in front.
func nginxTokens(text string) []string {
	x := nginxLexer{text: text}
	for ; x.at < len(x.text); x.at++ {
		x.next(x.text[x.at])
	}
	x.end()
	return x.tokens
}

type nginxLexer struct {
	text    string
	at      int
	word    strings.Builder
	started bool // a word, which may be empty in quotes
	tokens  []string
}

// next takes the byte at x.at, and what belongs to it.
func (x *nginxLexer) next(c byte) {
	switch {
	case c == '#' && !x.started:
		for x.at+1 < len(x.text) && x.text[x.at+1] != '\n' {
			x.at++
		}
	case strings.IndexByte(" \t\r\n", c) >= 0:
		x.end()
	case c == ';', c == '{' && !strings.HasSuffix(x.word.String(), "$"), c == '}' && !strings.Contains(x.word.String(), "${"):
		x.end()
		x.tokens = append(x.tokens, "\x00"+string(c))
	case (c == '"' || c == '\'') && !x.started:
		x.quoted(c)
	default:
		x.started = true
		x.word.WriteByte(c)
	}
}

// quoted takes a word up to the quote that ends it.
func (x *nginxLexer) quoted(quote byte) {
	x.started = true
	for x.at++; x.at < len(x.text) && x.text[x.at] != quote; x.at++ {
		if x.text[x.at] == '\\' && x.at+1 < len(x.text) {
			x.at++
		}
		x.word.WriteByte(x.text[x.at])
	}
}

// end ends a word, if there is one.
func (x *nginxLexer) end() {
	if x.started {
		x.tokens = append(x.tokens, x.word.String())
	}
	x.word.Reset()
	x.started = false
}

// nginxPasses are all ways on which nginx sends requests elsewhere.
func nginxPasses(all []directive) []pass {
	w := passWalk{upstreams: map[string][]string{}}
	w.findUpstreams(all)
	w.walk(all, "", nil)
	return w.found
}

type passWalk struct {
	upstreams map[string][]string
	found     []pass
}

func (w *passWalk) findUpstreams(all []directive) {
	for _, d := range all {
		if d.name() != "upstream" || len(d.words) < 2 {
			w.findUpstreams(d.block)
			continue
		}
		for _, s := range d.block {
			if s.name() == "server" && len(s.words) > 1 {
				w.upstreams[d.words[1]] = append(w.upstreams[d.words[1]], s.words[1])
			}
		}
	}
}

// walk goes through a block. The parameters of the one around it are inherited
// only if it sets none itself.
func (w *passWalk) walk(all []directive, site string, inherited []string) {
	var params []string
	for _, d := range all {
		if d.name() == "scgi_param" && len(d.words) > 2 {
			params = append(params, d.words[1])
		}
		if d.name() == "server_name" && site == "" {
			site = siteName(d.words[1:])
		}
	}
	if params == nil {
		params = inherited
	}
	for _, d := range all {
		if strings.HasSuffix(d.name(), "_pass") && len(d.words) == 2 {
			w.found = append(w.found, pass{d.name(), w.resolve(d.words[1]), site, params})
		}
		if d.block == nil {
			continue
		}
		if d.name() == "server" {
			w.walk(d.block, "", params)
		} else {
			w.walk(d.block, site, params)
		}
	}
}

// siteName is the first name that can be asked for.
func siteName(names []string) string {
	i := slices.IndexFunc(names, func(n string) bool { return n != "" && n != "_" && !strings.ContainsAny(n, "*~$") })
	if i < 0 {
		return ""
	}
	return strings.TrimPrefix(names[i], ".")
}

// resolve follows an upstream.
func (w *passWalk) resolve(to string) []string {
	if _, rest, ok := strings.Cut(to, "://"); ok { // of proxy_pass
		to = rest
		if !strings.HasPrefix(to, "unix:") {
			to, _, _ = strings.Cut(to, "/")
		}
	}
	if servers := w.upstreams[to]; servers != nil {
		return servers
	}
	return []string{to}
}

// leadsTo says whether an address of nginx's is that of a listener.
func leadsTo(nginx, listener string) bool {
	if path, ok := strings.CutPrefix(nginx, "unix:"); ok {
		path, _, _ = strings.Cut(path, ":") // before the URI of proxy_pass
		return isPath(listener) && realPath(path) == realPath(listener)
	}
	a, errA := netip.ParseAddrPort(strings.Replace(nginx, "localhost:", "127.0.0.1:", 1))
	b, errB := netip.ParseAddrPort(listener)
	if errA != nil || errB != nil || a.Port() != b.Port() {
		return false
	}
	return a.Addr() == b.Addr() || b.Addr().IsUnspecified() && a.Addr().IsLoopback()
}

// realPath follows links to the directory, such as /var/run; the socket itself need
// not be there.
func realPath(path string) string {
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path))
	}
	return filepath.Clean(path)
}
