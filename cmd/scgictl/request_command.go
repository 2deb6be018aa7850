package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

// requestFlags are the flags of scgictl request.
type requestFlags struct {
	requestSpec
	timeout       timeFlag
	verbose, head bool // -v, -i
	fail          bool
	output        string
}

func requestCommand(c *ctl) *cobra.Command {
	f := requestFlags{timeout: timeFlag{60 * time.Second}}
	cmd := &cobra.Command{
		Use:   "request NAME|ADDRESS URI",
		Short: "Send one SCGI request",
		Long: `Send one SCGI request, as a web server would, and print the body of the reply.

ADDRESS is /path, @name or host:port; a pool's NAME stands for its first
listener. Variables are those of nginx's scgi_params, with the path as PATH_INFO
and no DOCUMENT_ROOT; --env adds or replaces any.
The exit status is 0 for any valid, whole reply.`,
		Example: "  scgictl request wiki /\n" +
			"  scgictl request /run/scgid/wiki.sock -v -i '/search?q=x'\n" +
			"  scgictl request 127.0.0.1:4000 -d @form.txt -H 'Cookie: a=b' /login",
		Args:              arguments(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: c.completeName,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.hasData = cmd.Flags().Changed("data")
			return c.request(cmd, args, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.method, "request", "X", "", "`METHOD`; GET, or POST with data")
	flags.StringArrayVarP(&f.headers, "header", "H", nil, "header `FIELD` as \"Name: value\" (can be repeated)")
	flags.StringVarP(&f.data, "data", "d", "", "body: `DATA`, or @FILE, or @- for the standard input")
	flags.StringArrayVar(&f.env, "env", nil, "set one variable, `NAME=VALUE` (can be repeated)")
	flags.Var(&f.timeout, "timeout", "give up after this time, such as 30s or 5min")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "also print what was sent and got, and how long each part took")
	flags.BoolVarP(&f.head, "include", "i", false, "also print the reply's header")
	flags.BoolVar(&f.fail, "fail", false, "exit status 1 for a reply with status 400 or higher")
	flags.StringVarP(&f.output, "output", "o", "", "write the body to `FILE`")
	return cmd
}

// request is the command.
func (c *ctl) request(cmd *cobra.Command, args []string, f requestFlags) error {
	where := ""
	if len(args) == 2 {
		where, args = args[0], args[1:]
	}
	if where == "" && !isURI(args[0]) {
		return usage("no URI given", "usage: "+cmd.UseLine())
	}
	f.uri = args[0]
	if f.timeout.d <= 0 {
		return usage("--timeout must be more than 0", "")
	}
	a, closed, err := f.build(cmd.Context(), c.in)
	switch {
	case errors.Is(err, context.Canceled):
		return control.Errorf(control.CodeFailed, "interrupted, nothing was sent")
	case err != nil:
		return usage(err.Error(), "see "+cmd.CommandPath()+" --help")
	}
	defer closed()
	to, err := c.endpoint(cmd.Context(), where)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout.d)
	defer cancel()
	return c.exchange(ctx, a, to, f)
}

// isURI tells a URI from a name that was meant to have one behind it.
func isURI(s string) bool {
	return s == "*" || strings.HasPrefix(s, "/") || strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
}

// endpoint is where the pool or the address listens.
func (c *ctl) endpoint(ctx context.Context, where string) (endpoint, error) {
	if isAddress(where) {
		to, err := parseEndpoint(where)
		if err != nil {
			return to, usage(err.Error(), "")
		}
		return to, nil
	}
	t, err := c.target("request", where)
	if exitStatus(err) == exitNotRunning && where != "" {
		return c.socketOfUnit(ctx, where, err)
	}
	if err != nil {
		return endpoint{}, err
	}
	c.verify(ctx, t, false)
	s, err := statusNow(ctx, t)
	if err != nil {
		return endpoint{}, err
	}
	if len(s.Queue.Listeners) == 0 {
		return endpoint{}, control.Errorf(control.CodeDenied, "cannot find out where %s listens: its status does not tell you", t).
			WithHint("name the address: scgictl request /path URI")
	}
	to, err := parseEndpoint(s.Queue.Listeners[0].Address)
	if err != nil {
		return to, fmt.Errorf("cannot use the address of %s: %v", t, err)
	}
	return to, nil
}

// socketOfUnit is where systemd listens for a pool that does not run, which the
// request starts.
func (c *ctl) socketOfUnit(ctx context.Context, name string, notRunning error) (endpoint, error) {
	d := &doctor{ctl: c, name: name}
	d.loadConfig()
	d.units = d.readUnits(ctx)
	all := d.addresses()
	if len(all) == 0 {
		return endpoint{}, notRunning
	}
	if _, err := os.Lstat(all[0]); d.own && isPath(all[0]) && errors.Is(err, fs.ErrNotExist) {
		return endpoint{}, notRunning // its socket unit is not started
	}
	return parseEndpoint(all[0])
}

// exchange sends the request and prints what comes.
func (c *ctl) exchange(ctx context.Context, a *scgiRequest, to endpoint, f requestFlags) error {
	if f.verbose && !c.json {
		c.showVars(a, to)
	}
	body, err := c.bodyTo(f.output)
	if err != nil {
		return err
	}
	var reply *http.Response
	took, got, err := a.send(ctx, to, func(r *http.Response) (io.Writer, error) {
		reply = r
		c.showHead(r, f)
		return body, nil
	})
	if e := body.close(); e != nil {
		err = e
	}
	if c.json {
		return c.summary(a, to, reply, took, got, err, f)
	}
	if f.verbose {
		c.showTiming(took, got)
	}
	return replyError(reply, err, f.fail)
}

// replyError is the error with which the command ends.
func replyError(reply *http.Response, err error, fail bool) error {
	var known *control.Error
	switch {
	case errors.As(err, &known):
		return err
	case err != nil:
		return control.Errorf(control.CodeFailed, "the reply is broken: %v", err)
	case fail && reply.StatusCode >= 400:
		return control.Errorf(control.CodeFailed, "the reply's status is %d", reply.StatusCode)
	}
	return nil
}

// bodyTo opens what the body is written to. With --json the standard output
// belongs to the summary.
func (c *ctl) bodyTo(path string) (*sink, error) {
	switch {
	case path != "":
		f, err := os.Create(path)
		if err != nil {
			return nil, fmt.Errorf("cannot write the body: %w", err)
		}
		return &sink{to: f, end: f.Close}, nil
	case c.json:
		return &sink{to: io.Discard}, nil
	case c.out.terminal:
		t := &terminalBody{out: c.out, err: c.err}
		return &sink{to: t, end: t.Close}, nil
	}
	return &sink{to: c.out, each: c.out.Flush}, nil
}

// A sink is where a body goes. It remembers its own error, to tell it from
// the connection's.
type sink struct {
	to        io.Writer
	each, end func() error // after each part, so that streams are seen at once; and at the end
	err       error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	if err == nil && s.each != nil {
		err = s.each()
	}
	if err != nil {
		s.err = err
	}
	return n, err
}

func (s *sink) close() error {
	if s.end != nil {
		if err := s.end(); s.err == nil {
			s.err = err
		}
	}
	if s.err != nil {
		return control.Errorf(control.CodeFailed, "cannot write the body: %v", s.err)
	}
	return nil
}
