package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/scgid/scgid/worker"
	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

// A server answers the connections of one worker.
type server struct {
	find  func(scgi.Header) (script, error) // a *refusal when there is none
	env   *environment
	watch *watcher
	null  int // /dev/null, for reading
	// absolute has every Location sent as a whole URL.
	absolute bool
	// pin has scripts executed by descriptor.
	pin bool
	waits
	maxSpool int64 // what is kept of a body, in bytes
	log      *log.Logger

	busy      sync.WaitGroup // connections
	lingering lingering
	later     sync.WaitGroup // programs that were ended and are not reaped yet
}

// newServer makes a server of what the command line says.
func newServer(o *options, args []string, logger *log.Logger) (*server, error) {
	s := &server{env: newEnvironment(o, logger), absolute: o.absolute, pin: o.pinScripts, waits: o.waits, maxSpool: int64(o.maxSpool), log: logger}
	var err error
	if o.root != "" {
		r, rerr := openRoot(o.root, o.index, o.followLinksTo...)
		if rerr != nil {
			return nil, rerr
		}
		s.find = r.find
	} else if s.find, err = fixed(args, s.env); err != nil {
		return nil, err
	}
	s.null, err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/null", Err: err}
	}
	s.watch, err = newWatcher()
	return s, err
}

// fixed answers every request with one program. The name is looked up in PATH
// once; a program that is replaced in its place is taken from the next request
// on.
func fixed(args []string, env *environment) (func(scgi.Header) (script, error), error) {
	path, err := exec.LookPath(args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil && !strings.Contains(args[0], "/") && exists("./"+args[0]) {
		return nil, fmt.Errorf("cannot find the program: %v; is ./%s meant?", err, args[0])
	}
	if err != nil {
		return nil, fmt.Errorf("cannot find the program: %v", err)
	}
	s := script{path: path, fd: -1, dir: filepath.Dir(path), args: append([]string{path}, args[1:]...)}
	return func(h scgi.Header) (script, error) {
		if told(h, env) {
			return s, nil
		}
		s := s
		s.vars = wholePath(h)
		return s, nil
	}, nil
}

// told tells whether somebody has said what of the path is the program's: the
// operator, or the web server, also by the name of a file (php-cgi's).
func told(h scgi.Header, env *environment) bool {
	for _, name := range []string{"SCRIPT_NAME", "PATH_INFO", "SCRIPT_FILENAME"} {
		if _, ok := h.Lookup(name); ok || env.names[name] {
			return true
		}
	}
	return false
}

// wholePath makes all of the path PATH_INFO, for a program that answers every
// request. RFC 3875, 4.1.13: SCRIPT_NAME must be set, and may be empty. nginx
// sends neither by itself.
func wholePath(h scgi.Header) []scgi.Var {
	vars := []scgi.Var{{Name: "SCRIPT_NAME"}}
	path := requestPath(h)
	if path == "" {
		return vars
	}
	return append(vars, scgi.Var{Name: "PATH_INFO", Value: path})
}

// requestPath returns the decoded path of the request, "" when nothing tells
// it.
func requestPath(h scgi.Header) string {
	path := h.Get("DOCUMENT_URI")
	if path == "" {
		if u, err := url.ParseRequestURI(h.Get("REQUEST_URI")); err == nil {
			path = u.Path
		}
	}
	if !strings.HasPrefix(path, "/") || strings.ContainsRune(path, 0) {
		return ""
	}
	return path
}

// serve answers what the master passes until there is no more, then finishes
// what it holds. The master never passes more than the slots it was told of.
func (s *server) serve(w *worker.Worker) error {
	for {
		c, err := w.Accept()
		if err != nil {
			s.busy.Wait()
			s.later.Wait()
			s.lingering.end()
			s.watch.close()
			s.env.dropped.sum()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		s.busy.Add(1)
		go func() {
			defer s.busy.Done()
			s.exchange(c)
		}()
	}
}

// exchange does one request and takes c.
func (s *server) exchange(c *worker.Conn) {
	x := &exchange{server: s, conn: c}
	raw, err := c.SyscallConn()
	if err == nil {
		x.raw = raw
		err = x.answer()
	}
	if err != nil {
		s.log.Printf("request %d: %v", c.ID(), err)
	}
	// An error means that the master is gone; Accept will say so.
	c.Done(x.code, x.bytes)
}
