package config

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Environ returns the workers' variables, KEY=VALUE, each key once:
// Environment= and over it the files of EnvironmentFile=, which are read now.
// It is meant to be called for each generation. Mistakes in a file give an
// Errors; no error repeats a value, which may be a secret.
func (c *Config) Environ() ([]string, error) {
	env := slices.Clone(c.Worker.Environment)
	var errs Errors
	for i, f := range c.Worker.EnvironmentFile {
		data, err := readBounded(f.Path, fileMax)
		if f.Optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read environment file: %w", err)
		}
		p := envParser{s: strings.ReplaceAll(data, "\r\n", "\n"), file: f.Path, order: i, line: 1}
		p.all(&env)
		errs = append(errs, p.errs...)
	}
	if len(errs) > 0 {
		return nil, errs.sorted()
	}
	return env, nil
}

// envParser reads systemd.exec(5)'s environment files: KEY=VALUE lines with
// shell-like quotes, which may span lines; comments start with # or ;.
// Where systemd skips a line it does not understand, this is an error.
type envParser struct {
	s     string
	i     int // what is read so far
	line  int
	start int // offset of the current line

	file  string
	order int
	errs  Errors
}

func (p *envParser) fail(line, col int, text string) {
	p.errs = append(p.errs, &Error{File: p.file, Line: line, Col: col, Text: text, order: p.order})
}

func (p *envParser) all(env *[]string) {
	p.s = strings.TrimPrefix(p.s, bom)
	for p.i < len(p.s) && len(p.errs) <= errorsMax {
		switch c := p.s[p.i]; {
		case c == '\n' || c == ' ' || c == '\t':
			p.next()
		case c == '#' || c == ';':
			p.skipLine()
		default:
			p.variable(env)
		}
	}
}

// next returns the next byte and counts lines.
func (p *envParser) next() byte {
	c := p.s[p.i]
	p.i++
	if c == '\n' {
		p.line++
		p.start = p.i
	}
	return c
}

func (p *envParser) skipLine() {
	for p.i < len(p.s) && p.next() != '\n' {
	}
}

// variable reads one KEY=VALUE, with its line end.
func (p *envParser) variable(env *[]string) {
	line, col := p.line, p.i-p.start+1
	end := strings.IndexAny(p.s[p.i:], "=\n")
	if end < 0 || p.s[p.i+end] == '\n' {
		p.fail(line, col, "line is not KEY=VALUE")
		p.skipLine()
		return
	}
	key := strings.TrimRight(p.s[p.i:p.i+end], " \t")
	p.i += end + 1
	value, ok := p.value()
	if !ok {
		return
	}
	if _, what := badByte(strings.ReplaceAll(value, "\n", "")); what != "" {
		p.fail(line, col, strings.Replace(what, "line", "value", 1))
		return
	}
	err := checkVariable(key + "=" + value)
	if err == nil {
		_, err = putVariable(env, key+"="+value)
	}
	if err != nil {
		p.fail(line, col, err.Error())
	}
}

// value reads up to the end of the line outside quotes.
func (p *envParser) value() (string, bool) {
	var b []byte
	keep := 0     // b up to here is not a trailing blank
	bare := false // an unquoted part has begun: quotes are plain bytes in it
	for p.i < len(p.s) {
		c := p.next()
		switch {
		case c == '\n':
			return string(b[:keep]), true
		case c == '\\':
			bare = true
			if p.i < len(p.s) {
				if c = p.next(); c != '\n' {
					b = append(b, c)
				}
			}
			keep = len(b)
		case !bare && (c == '"' || c == '\''):
			quoted, ok := p.quoted(c)
			if !ok {
				return "", false
			}
			b = append(b, quoted...)
			keep = len(b)
		case c == ' ' || c == '\t':
			if bare {
				b = append(b, c)
			}
		default:
			bare = true
			b = append(b, c)
			keep = len(b)
		}
	}
	return string(b[:keep]), true
}

// quoted reads up to the closing quote, which may be lines away.
func (p *envParser) quoted(quote byte) ([]byte, bool) {
	line, col := p.line, p.i-p.start
	var b []byte
	for p.i < len(p.s) {
		c := p.next()
		if c == quote {
			return b, true
		}
		if c != '\\' || quote == '\'' || p.i == len(p.s) {
			b = append(b, c)
			continue
		}
		switch c = p.next(); {
		case strings.IndexByte("\"\\`$", c) >= 0:
			b = append(b, c)
		case c != '\n':
			b = append(b, '\\', c)
		}
	}
	p.fail(line, col, fmt.Sprintf("quote %c is not closed", quote))
	return nil, false
}
