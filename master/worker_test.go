package master

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/link"
	"github.com/scgid/scgid/worker/scgi"
	"golang.org/x/sys/unix"
)

// first says whether no other worker has asked before, of those that share
// this directory.
func first(dir string) bool {
	return os.Mkdir(filepath.Join(dir, "first"), 0o700) == nil
}

// workerMain is a worker that answers by what the URI says, after a start
// that goes as the mode says: KIND[:ARG], or once@DIR@KIND[:ARG], with which
// all but the first are plain, or onceGood@DIR, with which only the first is.
// page! in front has the worker use its page; see pages_test.go for its kinds.
func workerMain(mode string) {
	if rest, ok := strings.CutPrefix(mode, "once@"); ok {
		dir, then, _ := strings.Cut(rest, "@")
		if mode = "plain"; first(dir) {
			mode = then
		}
	}
	if dir, ok := strings.CutPrefix(mode, "onceGood@"); ok {
		if mode = "exit"; first(dir) {
			mode = "plain"
		}
	}
	mode, paged := strings.CutPrefix(mode, "page!")
	kind, arg, _ := strings.Cut(mode, ":")
	switch kind {
	case "deadly": // never ready, ends by any signal
		time.Sleep(time.Hour)
	case "uncle":
		uncle(arg)
	case "client":
		loadClient(arg)
		os.Exit(0)
	}
	signal.Ignore(unix.SIGINT)
	end, err := link.Inherit()
	if err != nil {
		panic(err)
	}
	if paged {
		pageOnly(end, kind, arg)
	}
	leave := make(chan os.Signal, 1)
	signal.Notify(leave, unix.SIGTERM)
	go func() {
		for range leave {
			if kind != "stubborn" {
				end.Leave()
			}
		}
	}()
	odd(end, kind, arg)
	oddMaker(kind, arg)
	slots := 1
	if kind == "slots" {
		slots, _ = strconv.Atoi(arg)
	}
	end.Ready(slots, "")
	serve(end, slots)
	if kind == "stubborn" || kind == "linger" {
		select {}
	}
}

// odd is what the bad workers do. It returns for those that serve as well.
func odd(end *link.End, kind, arg string) {
	send := func(text string, oob []byte) { unix.Sendmsg(process.LinkFD, []byte(text), oob, nil, 0) }
	switch kind {
	case "exit":
		os.Exit(3)
	case "say": // its last words
		fmt.Fprintf(os.Stderr, "first line\n%s\x1b[31m\n", arg)
		os.Exit(3)
	case "fail":
		end.Fail("no module named \x1b[31mapp")
		os.Exit(1)
	case "failwhile": // the file is there
		if _, err := os.Stat(arg); err == nil {
			end.Fail("not yet")
			os.Exit(1)
		}
		return
	case "mute":
	case "empty":
		send("", nil)
	case "garbage":
		send("hello", nil)
	case "large":
		send("STATUS="+strings.Repeat("x", 5000), nil)
	case "descriptors":
		send("READY=1", unix.UnixRights(1, 2))
	case "flood":
		for {
			end.Status("still here")
		}
	case "unknown":
		end.Ready(1, "")
		end.Done(12345, 200, 0)
	case "readytwice":
		end.Ready(1, "")
		end.Ready(1, "")
	case "extend":
		end.Ready(1, "")
		send("EXTEND=12345 1000", nil)
	case "donetwice":
		end.Ready(1, "")
		p, _ := end.Receive()
		respond(end, p)
		end.Done(p.ID, 200, 0)
	case "killready":
		end.Ready(1, "")
		unix.Kill(os.Getpid(), unix.SIGKILL)
	case "leaveready":
		end.Ready(1, "")
		os.Exit(0)
	case "endatconn":
		end.Ready(1, "")
		end.Receive()
		os.Exit(0)
	case "shutlink": // and lives on until it is told to end
		told := make(chan os.Signal, 1)
		signal.Notify(told, unix.SIGTERM)
		end.Ready(1, "")
		unix.Shutdown(process.LinkFD, unix.SHUT_RDWR)
		<-told
		os.Exit(0)
	case "once": // exits with an error after the first connection
		end.Ready(1, "")
		p, _ := end.Receive()
		respond(end, p)
		os.Exit(4)
	case "shut": // half-closes its link while it holds a connection
		end.Ready(1, "")
		end.Receive()
		unix.Shutdown(process.LinkFD, unix.SHUT_WR)
	case "deaf": // never receives
		slots, _ := strconv.Atoi(arg)
		end.Ready(max(slots, 1), "")
	case "hold": // receives, does not read
		end.Ready(1, "")
		end.Receive()
		tell(arg)
	case "readhead": // reads the header and nothing else
		end.Ready(1, "")
		p, _ := end.Receive()
		readHead(p.FD)
		tell(arg)
	case "donedie": // serves three at a time, then dies at once when told
		end.Ready(3, "")
		var held [3]link.Packet
		for i := range held {
			held[i], _ = end.Receive()
		}
		tell(arg)
		os.ReadFile(arg + ".go")
		for _, p := range held {
			respond(end, p)
		}
		unix.Kill(os.Getpid(), unix.SIGKILL)
	case "unsaid": // replies, and dies before it has said DONE
		end.Ready(1, "")
		p, _ := end.Receive()
		readHead(p.FD)
		unix.Write(p.FD, []byte("Status: 200 OK\r\n\r\n"))
		unix.Shutdown(p.FD, unix.SHUT_RDWR)
		unix.Kill(os.Getpid(), unix.SIGKILL)
	case "family": // receives, does not read, and has a child whose zombie is nobody's
		if _, err := os.StartProcess("/proc/self/exe", []string{"uncle"}, &os.ProcAttr{
			Env:   []string{modeEnv + "=uncle:" + arg, "GROUP=" + strconv.Itoa(os.Getpid())},
			Files: []*os.File{nil, os.Stdout, os.Stderr},
			Sys:   &syscall.SysProcAttr{Setpgid: true},
		}); err != nil {
			panic(err)
		}
		await(arg + ".pid")
		end.Ready(2, "") // of which it receives one
		end.Receive()
		tell(arg)
	case "reset": // receives, makes the connection non-blocking, as Go does, does not read
		end.Ready(1, "")
		p, _ := end.Receive()
		unix.SetNonblock(p.FD, true)
		tell(arg)
	case "exitready": // is ready and ends in error
		end.Ready(1, "")
		os.Exit(5)
	case "readhalf": // reads a few bytes and no more
		end.Ready(1, "")
		p, _ := end.Receive()
		unix.Read(p.FD, make([]byte, 10))
		tell(arg)
	case "status": // reads all, begins a reply
		end.Ready(1, "")
		p, _ := end.Receive()
		readHead(p.FD)
		unix.Write(p.FD, []byte("Status: 200 OK\r\n"))
		tell(arg)
	case "body": // is amid the body of its reply
		end.Ready(1, "")
		p, _ := end.Receive()
		readHead(p.FD)
		unix.Write(p.FD, []byte("Status: 200 OK\r\n\r\nabc"))
		tell(arg)
	case "cutshort": // ends its reply, does not say DONE
		end.Ready(1, "")
		p, _ := end.Receive()
		readHead(p.FD)
		unix.Write(p.FD, []byte("Status: 200 OK\r\n\r\nabc"))
		unix.Shutdown(p.FD, unix.SHUT_WR)
		tell(arg)
	default:
		return
	}
	select {}
}

// uncle stays outside the worker's group, with a child inside it that it does
// not reap: the group is not empty until both have gone.
func uncle(path string) {
	group, _ := strconv.Atoi(os.Getenv("GROUP"))
	if _, err := os.StartProcess("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{
		Files: []*os.File{nil, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pgid: group},
	}); err != nil {
		panic(err)
	}
	os.WriteFile(path+".tmp", []byte(strconv.Itoa(os.Getpid())), 0o600)
	os.Rename(path+".tmp", path+".pid")
	select {}
}

// tell says that a worker has come to its point: the file is there.
func tell(path string) { os.WriteFile(path, nil, 0o600) }

func await(path string) {
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// readHead takes exactly the netstring from the connection.
func readHead(fd int) {
	var b [1]byte
	n := 0
	for unix.Read(fd, b[:]); b[0] != ':'; unix.Read(fd, b[:]) {
		n = n*10 + int(b[0]-'0')
	}
	rest := make([]byte, n+1)
	for got := 0; got < len(rest); {
		n, err := unix.Read(fd, rest[got:])
		if n <= 0 || err != nil {
			panic(err)
		}
		got += n
	}
}

// serve takes connections until the end of the link.
func serve(end *link.End, slots int) {
	var held sync.WaitGroup
	defer held.Wait()
	for {
		p, err := end.Receive()
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(err)
		}
		if slots == 1 {
			respond(end, p)
			continue
		}
		held.Add(1)
		go func() { defer held.Done(); respond(end, p) }()
	}
}

// respond answers one connection. The URI is a list of orders.
func respond(end *link.End, p link.Packet) {
	f := os.NewFile(uintptr(p.FD), "connection")
	r := bufio.NewReader(f)
	body, mark := "", end.Mark(p)
	if req, err := scgi.ReadRequest(r, 0); err == nil {
		for order := range strings.SplitSeq(strings.TrimPrefix(req.Header.Get("REQUEST_URI"), "/"), "/") {
			body += obeyOrder(order, req, p)
		}
	}
	mark.Begin()
	fmt.Fprintf(f, "Status: 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	mark.Finish(200, int64(len(body)), false)
	unix.Shutdown(p.FD, unix.SHUT_RDWR)
	f.Close()
	if mark.Asked() {
		end.Done(p.ID, 200, int64(len(body)))
	}
}

func obeyOrder(order string, req *scgi.Request, p link.Packet) string {
	verb, arg, _ := strings.Cut(order, "=")
	switch verb {
	case "pid":
		return strconv.Itoa(os.Getpid())
	case "worker":
		return os.Getenv(link.EnvWorker)
	case "generation":
		return os.Getenv(link.EnvGeneration)
	case "directory":
		dir, _ := os.Getwd()
		return dir
	case "flags":
		flags, _ := unix.FcntlInt(uintptr(p.FD), unix.F_GETFL, 0)
		if flags&unix.O_NONBLOCK != 0 {
			return "non-blocking"
		}
		return "blocking"
	case "delay":
		if on, err := unix.GetsockoptInt(p.FD, unix.IPPROTO_TCP, unix.TCP_NODELAY); err != nil || on == 0 {
			return fmt.Sprint("some ", err)
		}
		return "none"
	case "conn":
		return strconv.FormatUint(p.ID, 10)
	case "length":
		return strconv.Itoa(len(req.Header.Get(arg)))
	case "fifo": // say that we are here, wait until somebody writes
		path := req.Header.Get("FIFO")
		os.WriteFile(path+".here", nil, 0o600)
		os.ReadFile(path)
	case "die":
		unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	case "body":
		b, err := io.ReadAll(req.Body)
		return fmt.Sprint(len(b), " ", err)
	case "note": // one line for each execution
		f, _ := os.OpenFile(req.Header.Get("NOTE"), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
		fmt.Fprintln(f, req.Header.Get("KEY"))
		f.Close()
	case "spin":
		ms, _ := strconv.Atoi(arg)
		for end := time.Now().Add(time.Duration(ms) * time.Millisecond); time.Now().Before(end); {
		}
	case "orphan": // leave a grandchild of another session behind
		sh, err := os.StartProcess("/bin/sh", []string{"sh", "-c", "setsid sleep 0.05 &"}, &os.ProcAttr{})
		if err != nil {
			return err.Error()
		}
		sh.Wait()
	}
	return ""
}

// loadClient sends so many requests, one after the other, each time a byte
// comes on its standard input, and writes a byte when they are answered.
func loadClient(arg string) {
	addr, count, _ := strings.Cut(arg, "#")
	n, _ := strconv.Atoi(count)
	var b [1]byte
	for {
		if _, err := os.Stdin.Read(b[:]); err != nil {
			return
		}
		for range n {
			c, err := net.Dial("unix", addr)
			if err != nil {
				panic(err)
			}
			c.Write(request("/"))
			if status, _, err := answer(c); status != "200 OK" {
				panic(fmt.Sprint(status, err))
			}
			c.Close()
		}
		os.Stdout.Write(b[:])
	}
}
