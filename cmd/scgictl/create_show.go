package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/master/config"
)

// created is what create --json prints.
type created struct {
	Name     string        `json:"name"`
	User     string        `json:"user,omitempty"` // that it runs as
	WebGroup string        `json:"web_group,omitempty"`
	Listen   []string      `json:"listen"`
	DryRun   bool          `json:"dry_run"`
	Files    []createdFile `json:"files"`
	Notes    []string      `json:"notes"`
	Next     []string      `json:"next"` // commands
}

type createdFile struct {
	Path  string `json:"path"`
	Mode  string `json:"mode"`
	Group string `json:"group,omitempty"`
	Text  string `json:"text"`
}

// next are the commands to be typed now.
func (p *plan) next() []string {
	var all []string
	if p.ofUser() {
		if len(p.writes) > 1 { // drop-ins
			all = append(all, "systemctl --user daemon-reload")
		}
		return append(all, "systemctl --user enable --now "+p.unit("socket"), "scgictl request "+p.addresses()[0]+" /")
	}
	if p.root != "" {
		return []string{strings.Join(p.systemctl("enable", p.unit("socket")), " ")}
	}
	return []string{"systemctl enable --now " + p.unit("socket"), "scgictl doctor " + p.name}
}

// nginx is what nginx has to be told; empty where it cannot connect.
func (p *plan) nginx() string {
	addr := p.addresses()[0]
	if p.ofUser() || addr[0] == '@' {
		return ""
	}
	return nginxLocation(p.loaded, addr)
}

// nginxLocation is a location of a server in nginx whose requests go to a pool.
func nginxLocation(conf *config.Config, addr string) string {
	params := "include scgi_params; "
	if dir, ok := cgiRoot(conf); ok {
		params += "scgi_param SCRIPT_FILENAME " + nginxPath(dir) + "; "
	}
	return "location / { " + params + "scgi_pass " + nginxAddress(addr) + "; }"
}

// plainPath is what nginx takes without quotes.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9_./@:+,=~%-]*$`)

// nginxPath is the request's path beneath dir.
func nginxPath(dir string) string {
	if plainPath.MatchString(dir) {
		return dir + "$document_uri"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(dir) + `$document_uri"`
}

// cgiValued are the flags of scgi-cgi(1) whose value may be the next argument.
var cgiValued = []string{"--slots", "--root", "--index", "--env", "--pass-env", "--pass-request-var", "--follow-links-to", "--max-spool"}

// cgiRoot is the directory beneath which scgi-cgi looks for the programs that
// requests name, without a slash at its end.
func cgiRoot(conf *config.Config) (dir string, ok bool) {
	if conf == nil || len(conf.Worker.ExecStart) == 0 {
		return "", false
	}
	argv := conf.Worker.ExecStart
	if filepath.Base(argv[0]) != "scgi-cgi" {
		return "", false
	}
	for i := 1; i < len(argv); i++ {
		name, value, inOne := strings.Cut(argv[i], "=")
		if !strings.HasPrefix(name, "--") {
			return "", false // the one program
		}
		if !inOne && slices.Contains(cgiValued, name) && i+1 < len(argv) {
			i++
			value = argv[i]
		}
		if name == "--root" {
			dir = value
		}
	}
	if dir == "" {
		return "", false
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join("/", conf.Worker.WorkingDirectory, dir)
	}
	return strings.TrimSuffix(filepath.Clean(dir), "/"), true
}

// showPlan prints what was written and what to type next or, with --dry-run, the
// files themselves.
func (c *ctl) showPlan(p *plan, dryRun bool) error {
	out := created{Name: p.name, User: p.user, WebGroup: p.web, Listen: p.addresses(), DryRun: dryRun,
		Notes: some(p.notes), Next: p.next()}
	for _, w := range p.writes {
		out.Files = append(out.Files, createdFile{p.Name(w.path), fmt.Sprintf("%04o", w.mode), w.group, w.text})
	}
	return c.show(out, func(s *screen) {
		if dryRun {
			s.planned(p)
			return
		}
		s.line(span{bold, p.name}, ": created")
		width := 0
		for _, w := range p.writes {
			width = max(width, textWidth(s.clean(p.Name(w.path))))
		}
		for _, w := range p.writes {
			s.line("  ", p.Name(w.path), strings.Repeat(" ", width-textWidth(s.clean(p.Name(w.path)))), span{dim, "  " + w.what})
		}
		s.notes(p.notes)
		s.line()
		s.line("Next:")
		for i, command := range p.next() {
			s.line("  ", command)
			if i == 0 && p.nginx() != "" {
				s.line(span{dim, "  and in nginx, in a server:"})
				s.line("    ", p.nginx())
			}
		}
	})
}

// planned prints files as systemctl cat does.
func (s *screen) planned(p *plan) {
	for i, w := range p.writes {
		if i > 0 {
			s.line()
		}
		mode := fmt.Sprintf("%04o", w.mode)
		if w.group != "" {
			mode += ", group " + w.group
		}
		s.line(span{cyan, fmt.Sprintf("# %s (%s)", p.Name(w.path), mode)})
		for _, line := range strings.Split(strings.TrimSuffix(w.text, "\n"), "\n") {
			s.tabbed(line)
		}
	}
	s.notes(p.notes)
}

// tabbed prints a line in which tabs are meant.
func (s *screen) tabbed(line string) {
	for i, part := range strings.Split(line, "\t") {
		if i > 0 {
			s.WriteByte('\t')
		}
		s.WriteString(s.clean(part))
	}
	s.WriteByte('\n')
}

// warning begins a note of what will not work.
const warning = "warning: "

// notes prints notes apart from what comes before, warnings by that word.
func (s *screen) notes(notes []string) {
	if len(notes) > 0 {
		s.line()
	}
	for _, n := range notes {
		label := "note: "
		if rest, ok := strings.CutPrefix(n, warning); ok {
			label, n = warning, rest
		}
		s.line(span{yellow, label}, n)
	}
}

// noteProblems notes what is going to be in the way, as far as one can see.
func (p *plan) noteProblems() {
	if !p.hasUnits() {
		p.notes = append(p.notes, "scgid's units are not installed here")
	}
	if len(p.loaded.Worker.Environment) > 0 && p.user == sharedUser {
		p.notes = append(p.notes, "the applications of all pools can read the Environment= of this one, which shares user and group scgid; "+
			"one that holds a secret wants a user of its own")
	}
	for _, addr := range p.addresses() {
		if to, err := netip.ParseAddrPort(addr); err == nil && !to.Addr().IsLoopback() {
			p.notes = append(p.notes, "whoever reaches "+addr+" may send requests: SCGI has neither passwords nor encryption")
		} else if err == nil || addr[0] == '@' {
			p.notes = append(p.notes, "any user of this machine may send requests to "+addr)
		}
	}
	if app := p.module(); app != "" && p.loaded.Worker.WorkingDirectory == "" {
		dir := "/"
		if p.ofUser() {
			dir = "your home directory"
		}
		p.notes = append(p.notes, fmt.Sprintf("it runs in %s, where scgi-wsgi looks for %s: the directory that has it is set with "+
			"--set Worker.WorkingDirectory=DIR", dir, app))
	}
	if p.root == "" { // else the files of the application are elsewhere
		p.noteMissing()
		p.noteUnreadable()
	}
}

// noteMissing warns of what the configuration names and is not there.
func (p *plan) noteMissing() {
	env, err := p.loaded.Environ()
	if err == nil {
		_, err = checkCommand(p.loaded.Worker.ExecStart, env)
	}
	if err != nil {
		p.notes = append(p.notes, warning+plainly(err)+": no worker can start")
	}
	if dir := p.loaded.Worker.WorkingDirectory; dir != "" {
		if err := isDirectory(dir); err != nil {
			p.notes = append(p.notes, warning+plainly(err)+": no worker can start")
		}
	}
}

// plainly is an error of stat(2) in a sentence.
func plainly(err error) string {
	var path *fs.PathError
	switch {
	case !errors.As(err, &path):
		return err.Error()
	case errors.Is(err, fs.ErrNotExist):
		return path.Path + " does not exist"
	}
	return "cannot look at " + path.Path + ": " + path.Err.Error()
}

// moduleForm is MODULE:CALLABLE, or a file without a directory.
var moduleForm = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.]*)(:.*)?$`)

// module is what scgi-wsgi(1) looks for beneath the working directory.
func (p *plan) module() string {
	argv := p.loaded.Worker.ExecStart
	if filepath.Base(argv[0]) != "scgi-wsgi" {
		return ""
	}
	for _, arg := range argv[1:] {
		if m := moduleForm.FindStringSubmatch(arg); m != nil {
			return m[1]
		}
	}
	return ""
}

// noteUnreadable notes what of the command the pool's user cannot read, by the
// modes.
func (p *plan) noteUnreadable() {
	if p.user == "" {
		return
	}
	a, err := findAccount(p.user)
	if err != nil {
		return // not made yet
	}
	paths := p.loaded.Worker.ExecStart
	if dir := p.loaded.Worker.WorkingDirectory; dir != "" {
		paths = append([]string{dir}, paths...)
	}
	seen := map[string]bool{}
	for _, path := range paths {
		// An argument may be FILE:CALLABLE, as scgi-wsgi's is.
		if path, _, _ = strings.Cut(path, ":"); !isPath(path) {
			continue
		}
		what, st := a.unreadable(path)
		if what != "" && !seen[what] {
			seen[what] = true
			p.notes = append(p.notes, fmt.Sprintf("%s may not read %s (%s)", p.user, what, describe(st)))
		}
	}
}

// mayRead is a permission bit, like mayWrite.
const mayRead = 4

// unreadable returns what on the way to a file, or a directory, a user may not
// pass or read; empty is nothing.
func (a *account) unreadable(path string) (string, *unix.Stat_t) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if err != nil && !errors.Is(err, unix.EACCES) {
		return "", nil
	}
	if o := a.obstacle(path); o != nil && o.dir {
		return o.path, &o.st
	}
	if err == nil && !a.allowed(&st, mayRead) {
		return path, &st
	}
	return "", nil
}
