package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A nginxConf is what nginx of this machine would do.
type nginxConf struct {
	running bool
	passes  []pass
	err     error // why its configuration cannot be read
}

// nginxTime is how long nginx may take to read its configuration.
const nginxTime = 10 * time.Second

// readNginx has nginx print its configuration, with all that it includes. That is
// the configuration of its files, which it may not have read yet.
func (d *doctor) readNginx(ctx context.Context) {
	program, err := exec.LookPath(d.ctl.nginx)
	if err != nil && filepath.Base(d.ctl.nginx) == d.ctl.nginx && d.ctl.nginx != "" {
		program, err = exec.LookPath("/usr/sbin/" + d.ctl.nginx) // not in every user's PATH
	}
	if err != nil {
		return
	}
	d.nginx = &nginxConf{running: isRunning(filepath.Base(program))}
	ctx, cancel := context.WithTimeout(ctx, nginxTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-T")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		d.nginx.err = errors.New(orElse(firstLine(said.String()), err.Error()))
		return
	}
	d.nginx.passes = nginxPasses(parseNginx(out.String()))
	for _, p := range d.nginx.passes {
		if d.leadsHere(p) && d.site == "" {
			d.site = p.site
		}
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return bounded(line, 300)
}

// isRunning looks for a process of a program.
func isRunning(comm string) bool {
	all, _ := filepath.Glob("/proc/[0-9]*/comm")
	return slices.ContainsFunc(all, func(path string) bool {
		text, err := os.ReadFile(path)
		return err == nil && strings.TrimSpace(string(text)) == comm
	})
}

// leadsHere says whether a way ends at one of the pool's sockets.
func (d *doctor) leadsHere(p pass) bool {
	return slices.ContainsFunc(p.to, func(to string) bool {
		return slices.ContainsFunc(d.where, func(listener string) bool { return leadsTo(to, listener) })
	})
}

// checkNginx says whether nginx sends requests to the pool, and what those lack.
func (d *doctor) checkNginx(context.Context) {
	const what = "nginx"
	n := d.nginx
	switch {
	case n == nil || len(d.where) == 0:
		return
	case n.err != nil && !n.running:
		return // it is not what serves this site
	case n.err != nil && os.Geteuid() != 0:
		d.add(skipped, what, "cannot read its configuration: "+n.err.Error(), "run doctor as root")
		return
	case n.err != nil:
		d.add(bad, what, n.err.Error(), "nginx -t")
		return
	}
	found := false
	for _, p := range n.passes {
		if d.leadsHere(p) {
			found = true
			d.checkPass(p)
		}
	}
	if !found {
		d.noPass()
	}
}

// checkPass grades a way that leads here.
func (d *doctor) checkPass(p pass) {
	const what = "nginx"
	site := "a server"
	if p.site != "" {
		site = p.site
	}
	must, should := p.missing()
	switch dir, below := cgiRoot(d.conf); {
	case p.by != "scgi_pass":
		d.add(bad, what, p.by+" of "+site+" leads to this socket, and speaks another protocol than SCGI",
			"in its place: include scgi_params; scgi_pass "+nginxAddress(d.where[0])+";")
	case len(must) > 0:
		d.add(bad, what, "scgi_pass of "+site+" leads here without "+strings.Join(must, " and "),
			"beside it: include scgi_params; then nginx -s reload. scgi_param in a block replaces all those around it")
	case below && !slices.Contains(p.params, "SCRIPT_FILENAME"):
		d.add(bad, what, "scgi_pass of "+site+" leads here without SCRIPT_FILENAME, by which scgi-cgi --root finds the program",
			"beside it: scgi_param SCRIPT_FILENAME "+nginxPath(dir)+"; then nginx -s reload")
	case len(should) > 0:
		d.add(notable, what, "scgi_pass of "+site+" leads here without "+strings.Join(should, ", "), "beside it: include scgi_params; then nginx -s reload")
	case !d.nginx.running:
		d.add(notable, what, "scgi_pass of "+site+" leads here, but nginx does not run", "systemctl start nginx")
	default:
		d.add(good, what, "scgi_pass of "+site+" leads here", "")
	}
}

// missing are parameters without which nothing works, and without which something
// does not. CONTENT_LENGTH is sent in any case.
func (p pass) missing() (must, should []string) {
	lacks := func(name string) bool { return !slices.Contains(p.params, name) }
	if lacks("REQUEST_METHOD") {
		must = append(must, "REQUEST_METHOD")
	}
	if lacks("REQUEST_URI") && lacks("PATH_INFO") {
		must = append(must, "REQUEST_URI")
	}
	for _, name := range []string{"QUERY_STRING", "CONTENT_TYPE", "SERVER_PROTOCOL", "SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR"} {
		if lacks(name) {
			should = append(should, name)
		}
	}
	return must, should
}

// noPass is where no way leads here. Which web server is meant is known by nobody
// but the operator: that nginx runs is a guess.
func (d *doctor) noPass() {
	const what = "nginx"
	hasVariable := slices.ContainsFunc(d.nginx.passes, func(p pass) bool {
		return p.by == "scgi_pass" && strings.Contains(strings.Join(p.to, " "), "$")
	})
	switch {
	case !d.nginx.running:
		d.add(skipped, what, "it does not run", "")
	case hasVariable:
		d.add(skipped, what, "an scgi_pass has a variable, so nobody can say where it leads", "")
	case !isPath(d.where[0]) || d.own:
		d.add(skipped, what, "it runs here, but no scgi_pass leads to "+d.where[0], "")
	default:
		d.add(notable, what, "it runs, but no scgi_pass of its configuration leads to "+d.where[0],
			"in a server of nginx: "+nginxLocation(d.conf, d.where[0]))
	}
}

// nginxAddress is an address as nginx writes it.
func nginxAddress(addr string) string {
	if isPath(addr) {
		return "unix:" + addr
	}
	return addr
}
