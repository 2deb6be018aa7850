package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/scgid/scgid/control"
)

// place is where a value was written.
type place struct {
	order     int // of the file or argument, in reading order
	file      string
	line, col int
	set       string
}

func (p place) String() string {
	if p.set != "" {
		return "--set " + show(p.set)
	}
	return fmt.Sprintf("%s:%d", p.file, p.line)
}

// origin is how Effective names the place.
func (p place) origin() string {
	if p.set != "" {
		return originSet
	}
	return p.String()
}

// loader gathers one configuration and everything wrong with it.
type loader struct {
	c     *Config
	order int
	given map[string]place // where each key was last set, by Key.String; absent when reset
	wrong map[string]bool  // keys with an error, which get no second error
	errs  Errors
}

// newLoader starts from the defaults in the table of keys.
func newLoader(name string) *loader {
	l := &loader{c: &Config{Name: name, origins: map[string][]string{}}, given: map[string]place{}, wrong: map[string]bool{}}
	for i := range keys {
		k := &keys[i]
		if err := k.set(l.c, k.Default); err != nil {
			panic(fmt.Sprintf("config: default of %s: %v", k, err))
		}
	}
	return l
}

// full says that there are more errors than will be reported: the rest of the
// input is not worth reading.
func (l *loader) full() bool { return len(l.errs) > errorsMax }

func (l *loader) fail(p place, format string, args ...any) {
	if l.full() {
		return
	}
	l.errs = append(l.errs, &Error{File: p.file, Line: p.line, Col: p.col, Set: p.set,
		Text: fmt.Sprintf(format, args...), order: p.order})
}

// file reads one file. The error is about the file as a whole.
func (l *loader) file(path string) error {
	data, err := readBounded(path, fileMax)
	if err != nil {
		return err
	}
	l.order++
	l.c.Files = append(l.c.Files, path)
	l.parse(path, data)
	return nil
}

// parse applies the assignments of one file.
func (l *loader) parse(path, data string) {
	p := place{order: l.order, file: path}
	lines, bad := scan(data)
	for _, b := range bad {
		l.fail(place{order: p.order, file: path, line: b.line, col: b.col}, "%s", b.text)
	}
	sec := section{}
	for _, ln := range lines {
		if l.full() {
			return
		}
		if ln.isHeader() {
			sec = l.header(p, ln)
		} else {
			l.assignment(p, sec, ln)
		}
	}
}

// section is what the last header named.
type section struct {
	name string
	seen bool // there was a header
	skip bool // nothing below it is looked at
}

// header returns the section that ln opens. Lines below one that is unknown
// are not looked at: one error is enough.
func (l *loader) header(p place, ln line) section {
	p.line, p.col = ln.at(0)
	name, err := ln.section()
	if err != nil {
		l.fail(p, "%v", err)
		return section{seen: true, skip: true}
	}
	if strings.HasPrefix(name, "X-") {
		return section{seen: true, skip: true}
	}
	if !knownSection(name) {
		l.fail(p, "unknown section [%s]; %s", show(name), nearSection(name))
		return section{seen: true, skip: true}
	}
	return section{name: name, seen: true}
}

func (l *loader) assignment(p place, sec section, ln line) {
	p.line, p.col = ln.at(0)
	if !sec.seen {
		l.fail(p, "%s is outside any section; sections are %s", show(ln.text), sectionList())
		return
	}
	if sec.skip {
		return
	}
	name, value, off, err := ln.assignment()
	if err != nil {
		l.fail(p, "%v", err)
		return
	}
	if strings.HasPrefix(name, "X-") {
		return
	}
	k := findKey(sec.name, name)
	if k == nil {
		l.fail(p, "unknown key %s= in [%s]; %s", show(name), sec.name, nearKey(sec.name, name))
		return
	}
	l.apply(p, k, value, func(fault int) (int, int) { return ln.at(off + fault) })
}

// apply sets k to value, or back to its default when value is empty; at gives
// the line and column of an offset in value.
func (l *loader) apply(p place, k *Key, value string, at func(int) (int, int)) {
	if value == "" {
		delete(l.given, k.String())
		delete(l.wrong, k.String())
		delete(l.c.origins, k.String())
		value = k.Default
	} else {
		if was, ok := l.given[k.String()]; ok && k.Once && p.set == "" {
			l.wrong[k.String()] = true
			l.fail(p, "%s= is already set at %s; write an empty %s= first to replace it", k.Name, was, k.Name)
			return
		}
		p.line, p.col = at(0)
		l.given[k.String()] = p
	}
	if err := l.store(p, k, value); err != nil {
		l.failValue(p, k, value, err, at)
	}
}

// store sets k and notes where each value comes from.
func (l *loader) store(p place, k *Key, value string) error {
	if !l.isGiven(k.String()) {
		return k.set(l.c, value)
	}
	if k.put == nil {
		l.c.origins[k.String()] = []string{p.origin()}
		return k.set(l.c, value)
	}
	stored, err := k.put(l.c, value)
	origins := l.c.origins[k.String()]
	for _, i := range stored {
		if i == len(origins) {
			origins = append(origins, "")
		}
		origins[i] = p.origin()
	}
	l.c.origins[k.String()] = origins
	return err
}

// failValue reports that value is not possible for k.
func (l *loader) failValue(p place, k *Key, value string, err error, at func(int) (int, int)) {
	l.wrong[k.String()] = true
	text := err.Error()
	var f *fault
	if errors.As(err, &f) {
		p.line, p.col = at(f.off)
	}
	switch {
	case p.set != "": // the argument itself stands before the text
	case k.Secret:
		text = k.Name + "=: " + text
	default:
		text = k.Name + "=" + show(value) + ": " + text
	}
	l.fail(p, "%s", text)
}

// settings applies --set arguments, after all files.
func (l *loader) settings(set []string) {
	for _, s := range set {
		l.order++
		if s == "" {
			l.fail(place{order: l.order}, `--set "": is not Section.Key=VALUE`)
			continue
		}
		l.setting(place{order: l.order, set: s}, s)
	}
}

func (l *loader) setting(p place, s string) {
	path, value, ok := strings.Cut(s, "=")
	sec, name, dotted := strings.Cut(path, ".")
	if err := checkText(s); err != nil {
		l.fail(p, "%v", err)
		return
	}
	if !ok || !dotted {
		l.fail(p, "is not Section.Key=VALUE%s", sectionHint(path))
		return
	}
	if !knownSection(sec) {
		l.fail(p, "unknown section %s; %s", show(sec), nearSection(sec))
		return
	}
	k := findKey(sec, name)
	if k == nil {
		l.fail(p, "unknown key %s= in [%s]; %s", show(name), sec, nearKey(sec, name))
		return
	}
	l.apply(p, k, strings.TrimSpace(value), func(int) (int, int) { return 0, 0 })
}

// checkText refuses what no line of a file may hold either.
func checkText(s string) error {
	if len(s) > lineMax {
		return fmt.Errorf("is longer than %d bytes", lineMax)
	}
	if _, text := badByte(s); text != "" {
		return errors.New(text)
	}
	return nil
}

// finish checks what no single key can know.
func (l *loader) finish() (*Config, error) {
	l.limits()
	if len(l.c.Worker.ExecStart) == 0 && !l.wrong["Worker.ExecStart"] {
		p := place{}
		if len(l.c.Files) > 0 {
			p = place{order: 1, file: l.c.Files[0]}
		}
		l.fail(p, "[Worker] ExecStart= is missing")
	}
	if len(l.errs) == 0 {
		return l.c, nil
	}
	return nil, l.errs.sorted()
}

// limits lets defaults give way to what was written, and checks the rest.
func (l *loader) limits() {
	p := &l.c.Pool
	for _, k := range []string{"Pool.MinWorkers", "Pool.MaxWorkers", "Pool.MinIdle", "Pool.MaxIdle"} {
		if l.wrong[k] {
			return
		}
	}
	// A site that sets only MaxWorkers=2 must not be told that the default of
	// another key does not fit.
	if !l.isGiven("Pool.MinIdle") {
		p.MinIdle = min(p.MinIdle, p.MaxWorkers)
		if l.isGiven("Pool.MaxIdle") {
			p.MinIdle = min(p.MinIdle, p.MaxIdle)
		}
		if p.MinWorkers == 0 { // else an idle pool could never be empty
			p.MinIdle = 0
		}
	}
	if !l.isGiven("Pool.MaxIdle") {
		p.MaxIdle = min(max(p.MaxIdle, p.MinIdle), p.MaxWorkers)
	}
	err := p.Validate()
	var le *control.LimitError
	if errors.As(err, &le) {
		l.failLimit(le)
	}
}

// failLimit puts the error where it can be cured: at the key that is wrong or,
// if that one has its default, at the one it contradicts.
func (l *loader) failLimit(le *control.LimitError) {
	at, ok := l.given["Pool."+le.Key]
	if !ok {
		at = l.given["Pool."+le.Other]
	}
	text := le.Error()
	for _, k := range []string{le.Key, le.Other} {
		if k != "" && !l.isGiven("Pool."+k) {
			text += fmt.Sprintf("; %s= is not set, that is its default", k)
		}
	}
	l.fail(at, "%s", text)
}

func (l *loader) isGiven(key string) bool {
	_, ok := l.given[key]
	return ok
}
