package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/scgid/scgid/cmd/scgibench/cost"
	"github.com/scgid/scgid/cmd/scgibench/load"
)

// A Server is one running server. Whoever started it calls Stop.
type Server struct {
	Kind    Kind
	App     App
	Workers int
	Pid     int         // of its first process
	Group   *cost.Group // it alone lives there; nil where none can be made
	Begun   time.Time   // just before it was started

	kit   *Kit
	place place
	tree  process
	front process
}

// A process is one that we started.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of Wait, once ended is closed
}

// Start starts a kind with that many workers, and nginx before it when the
// application is behind one. It does not wait until the server answers: that
// is what Ready does. For a kind that Spawns, nothing runs yet.
func (k *Kit) Start(kind Kind, app App, workers int) (*Server, error) {
	return k.start(kind, app, workers, workers)
}

// StartSmall is Start with one worker that may become as many as max.
func (k *Kit) StartSmall(kind Kind, app App, max int) (*Server, error) {
	return k.start(kind, app, 1, max)
}

func (k *Kit) start(kind Kind, app App, min, max int) (*Server, error) {
	k.n++
	dir := k.path("s" + strconv.Itoa(k.n))
	s := &Server{Kind: kind, App: app, Workers: max, kit: k,
		place: place{app: app, addr: filepath.Join(dir, "sock"), min: min, max: max, dir: dir}}
	if kind.Spawns() {
		return s, nil
	}
	if err := k.writeFiles(kind, s.place); err != nil {
		return nil, err
	}
	if err := s.launch(); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Server) launch() (err error) {
	if s.App.Front {
		err = s.run(&s.front, nil, "front.log", front.find(), "-p", s.place.dir, "-e", "stderr", "-c", filepath.Join(s.place.dir, "nginx.conf"))
		if err != nil {
			return err
		}
	}
	if g, err := cost.NewGroup(filepath.Base(s.place.dir)); err == nil {
		s.Group = g
	}
	command := s.Kind.command(s.kit, s.place)
	s.Begun = time.Now()
	if err = s.run(&s.tree, s.Group, "log", command[0], command[1:]...); err == nil {
		s.Pid = s.tree.cmd.Process.Pid
	}
	return err
}

// run starts a process in a process group of its own, so that Ctrl-C in a
// terminal is for us, and with what it writes in a file.
func (s *Server) run(p *process, g *cost.Group, log, name string, args ...string) error {
	file, err := os.Create(filepath.Join(s.place.dir, log))
	if err != nil {
		return err
	}
	defer file.Close()
	cmd := exec.Command(name, args...)
	cmd.Dir = s.kit.dir
	cmd.Stdout, cmd.Stderr = file, file
	cmd.Env = append(os.Environ(), "SCGIBENCH_ROUNDS="+strconv.Itoa(s.kit.Rounds), "PYTHONPATH="+s.kit.dir, "PYTHONDONTWRITEBYTECODE=")
	cmd.Env = append(cmd.Env, s.Kind.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if g != nil {
		g.Start(cmd.SysProcAttr)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd, p.ended = cmd, make(chan struct{})
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return nil
}

// Load is a load on the server's application; the caller says how much.
func (s *Server) Load() *load.Load {
	l := &load.Load{Address: s.place.addr, URI: s.App.URI, HTTP: s.HTTP(), Timeout: time.Minute}
	if s.App.Front {
		l.Address = filepath.Join(s.place.dir, "front")
	}
	if s.App.Length > 0 {
		l.Expect.Length = &s.App.Length
	}
	return l
}

// HTTP tells that the server is asked in HTTP, and not in SCGI.
func (s *Server) HTTP() bool { return s.App.Front || s.Kind.http }

// Dial opens a connection to where Load sends its requests.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", s.Load().Address)
}

// Ended is closed when the server has ended; nil for one that Spawns.
func (s *Server) Ended() <-chan struct{} { return s.tree.ended }

// Says is the last line that the server wrote, for an error.
func (s *Server) Says() string {
	text, _ := os.ReadFile(filepath.Join(s.place.dir, "log"))
	return lastLine(text)
}

// SpawnCommand is the command of a kind that Spawns, for that time.
func (s *Server) SpawnCommand(d time.Duration) []string {
	return []string{s.kit.floor.Spawn, strconv.FormatInt(max(1, d.Milliseconds()), 10), s.kit.dir + s.App.URI}
}

// Stop ends the server and its nginx, and returns when both are gone.
func (s *Server) Stop() error {
	var all sync.WaitGroup
	for _, p := range []*process{&s.tree, &s.front} {
		if p.cmd != nil {
			all.Add(1)
			go func() {
				defer all.Done()
				p.stop()
			}()
		}
	}
	all.Wait()
	err := error(nil)
	if s.Group != nil {
		err = empty(s.Group)
	}
	return errors.Join(err, os.RemoveAll(s.place.dir))
}

// stopTime is how long a server has to end by itself.
const stopTime = 5 * time.Second

// stop asks the process to end, then kills what is left of its process group.
func (p *process) stop() {
	pid := p.cmd.Process.Pid
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopTime):
	}
	syscall.Kill(-pid, syscall.SIGKILL)
	<-p.ended
}

// empty kills what has stayed in the group, and removes it. A process that was
// killed is there for a moment yet.
func empty(g *cost.Group) (err error) {
	for range 200 {
		for _, pid := range g.Pids() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		if err = g.Close(); err == nil || !errors.Is(err, syscall.EBUSY) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

func (s *Server) String() string {
	return fmt.Sprintf("%s, %s, %d workers", s.App.Name, s.Kind.Name, s.Workers)
}
