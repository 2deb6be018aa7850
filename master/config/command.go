package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// command is systemd.service(5)'s ExecStart= in its plainest form: one command,
// no prefix characters, no variables.
func command(p func(*Config) *[]string) kind {
	k := kind{Type: "command", Once: true,
		Allowed: "one command: an absolute path or a bare program name, and its arguments"}
	k.set = func(c *Config, v string) error {
		if v == "" {
			*p(c) = nil
			return nil
		}
		args, err := commandWords(v, c.Name)
		if err != nil {
			return err
		}
		*p(c) = args
		return nil
	}
	k.text = func(c *Config) []string { return commandText(*p(c)) }
	return k
}

// commandText writes args so that commandWords reads them again. What only
// the command line of scgid run can give, a program such as ./x, is written
// all the same.
func commandText(args []string) []string {
	if len(args) == 0 {
		return nil
	}
	words := make([]string, len(args))
	for i, a := range args {
		a = strings.ReplaceAll(a, "%", "%%")
		a = strings.ReplaceAll(a, "$", "$$")
		words[i] = quoteWord(a, i == 0 && a != "" && strings.IndexByte(prefixes, a[0]) >= 0 || a == ";")
	}
	return []string{strings.Join(words, " ")}
}

// prefixes are what systemd.service(5) allows in front of a program.
const prefixes = "@-:+!|"

func commandWords(v, name string) ([]string, error) {
	if strings.IndexByte(prefixes, v[0]) >= 0 {
		return nil, faultf(0, "prefix character %q is not supported; the command starts with its program", v[:1])
	}
	words, err := splitWords(v)
	if err != nil {
		return nil, err
	}
	args := make([]string, len(words))
	for i, w := range words {
		if w.text == ";" && v[w.off] == ';' {
			return nil, faultf(w.off, `";" separates commands, and only one is allowed; write \; for an argument ";"`)
		}
		text, err := expand(w.text, name)
		if err != nil {
			return nil, faultf(w.off, "%v", err)
		}
		if args[i], err = dollars(text); err != nil {
			return nil, faultf(w.off, "%v", err)
		}
	}
	if prog := args[0]; prog == "" {
		return nil, faultf(words[0].off, "the program name is empty")
	} else if strings.Contains(prog, "/") && !filepath.IsAbs(prog) {
		return nil, faultf(words[0].off, "program %s must be an absolute path or a bare name", show(prog))
	}
	return args, nil
}

// dollars turns "$$" into "$" and refuses what systemd would replace: silently
// passing "$HOME" on would be the worse surprise.
func dollars(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '$' && i+1 < len(s) {
			next := s[i+1]
			if next == '{' || envStart(next) {
				return "", fmt.Errorf("variables such as %s are not replaced; write $$ for a dollar sign", show(variable(s[i:])))
			}
			if next == '$' {
				i++
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), nil
}

// variable returns the "$NAME" or "${NAME}" at the start of s.
func variable(s string) string {
	if s[1] == '{' {
		if i := strings.IndexByte(s, '}'); i > 0 {
			return s[:i+1]
		}
		return s
	}
	i := 1
	for i < len(s) && envByte(s[i]) {
		i++
	}
	return s[:i]
}

// environment is systemd.exec(5)'s Environment=: words of KEY=VALUE.
func environment(p func(*Config) *[]string) kind {
	k := kind{Type: "variables", Secret: true, Allowed: "KEY=VALUE words"}
	put := func(c *Config, v string) (stored []int, err error) {
		words, err := splitWords(v)
		if err != nil {
			return nil, err
		}
		for _, w := range words {
			text, err := expand(w.text, c.Name)
			if err == nil {
				err = checkVariable(text)
			}
			i := 0
			if err == nil {
				i, err = putVariable(p(c), text)
			}
			if err != nil {
				return stored, faultf(w.off, "%v", err)
			}
			stored = append(stored, i)
		}
		return stored, nil
	}
	return list(k, p, put, variableText)
}

// variableText names a variable without its value, which may be a secret.
func variableText(kv string) string {
	name, _, _ := strings.Cut(kv, "=")
	return name + "=…"
}

// reserved are the variables in which the master speaks to its workers.
var reserved = []string{"SCGID_WORKER_FD", "SCGID_WORKER", "SCGID_GENERATION", "SCGID_PROTOCOL", "SCGID_POOL", "SCGID_PAGE_FD"}

// checkVariable judges a KEY=VALUE. Its errors repeat nothing of it: it may be
// a secret.
func checkVariable(kv string) error {
	key, _, ok := strings.Cut(kv, "=")
	if !ok {
		return errors.New("is not KEY=VALUE")
	}
	if !validEnvName(key) {
		return errors.New("what is before = is not a variable name (letters, digits and _, not starting with a digit)")
	}
	if slices.Contains(reserved, key) {
		return fmt.Errorf("%s is set by scgid itself", key)
	}
	return nil
}

// putVariable appends kv, or replaces the value that its key has already, and
// returns its position.
func putVariable(env *[]string, kv string) (int, error) {
	key, _, _ := strings.Cut(kv, "=")
	for i, old := range *env {
		if strings.HasPrefix(old, key) && old[len(key)] == '=' {
			(*env)[i] = kv
			return i, nil
		}
	}
	return add(env, kv)
}

func validEnvName(s string) bool {
	for i := 0; i < len(s); i++ {
		if !envByte(s[i]) {
			return false
		}
	}
	return s != "" && envStart(s[0])
}

func envStart(b byte) bool { return b == '_' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' }
func envByte(b byte) bool  { return envStart(b) || b >= '0' && b <= '9' }

// expand replaces the specifiers %i and %n by the pool's name and %% by %.
func expand(s, name string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch {
		case i == len(s):
			return "", faultf(i-1, "ends in a single %%; write %%%% for a percent sign")
		case s[i] == 'i' || s[i] == 'n':
			b.WriteString(name)
		case s[i] == '%':
			b.WriteByte('%')
		default:
			r, _ := utf8.DecodeRuneInString(s[i:])
			return "", faultf(i-1, "unknown specifier %%%c; allowed are %%i and %%n (the pool's name) and %%%% (a percent sign)", r)
		}
	}
	return b.String(), nil
}
