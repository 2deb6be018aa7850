package python_test

import (
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
)

// takers are what applications do to signals, at import or in a request.
var takers = map[string]string{
	"nothing":  "pass",
	"ignore":   "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
	"default":  "signal.signal(signal.SIGTERM, signal.SIG_DFL)",
	"exit":     "signal.signal(signal.SIGTERM, lambda *a: sys.exit(1))",
	"each":     "for n in signal.valid_signals() - {9, 19, 32, 33}: signal.signal(n, lambda *a: sys.exit(1))",
	"each dfl": "for n in signal.valid_signals() - {9, 19, 32, 33, 13}: signal.signal(n, signal.SIG_DFL)",
	"block":    "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
	"wakeup":   "signal.set_wakeup_fd(-1)",
	"restart":  "signal.siginterrupt(signal.SIGTERM, False)",
	"asyncio": `
    import asyncio
    async def main():
        loop = asyncio.get_running_loop()
        for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            loop.add_signal_handler(n, loop.stop)
    asyncio.run(main())`,
	"a loop that stays": `
    import asyncio
    global loop
    loop = asyncio.new_event_loop()
    loop.add_signal_handler(signal.SIGTERM, loop.stop)
    loop.add_signal_handler(signal.SIGINT, loop.stop)`,
}

const takerApp = `
import signal
def do_take(env, start):
    take()
    return reply(start, "taken")
def do_stream(env, start):
    take()
    def chunks():
        yield b"first"
        while env["wsgi.input"].read(1):
            yield b"next"
    start("200 OK", [])
    return chunks()
def do_run(env, start):
    "An event loop that is running when the signal comes."
    import asyncio
    async def main():
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, loop.stop)
        loop.add_signal_handler(signal.SIGUSR1, done.set)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.wait_for(done.wait(), 20)
        return "through"
    return reply(start, asyncio.run(main()))
`

// SIGTERM finishes what is held, and nothing else, whatever was done to signals:
// before READY, before the request, or within it.
func TestTerminateWhateverTheApplicationDoesToSignals(t *testing.T) {
	for name, text := range takers {
		for _, when := range []string{"import", "request", "within"} {
			for _, threads := range []string{"1", "2"} {
				if threads == "2" && when != "import" {
					continue // signals are the main thread's to change
				}
				t.Run(name+" "+when+" "+threads, func(t *testing.T) {
					source := takerApp + "def take():\n    " + text + "\n"
					if when == "import" {
						source += "take()\ndef take(): pass\n"
					}
					w := serve(t, source, "--threads", threads)
					if when == "request" {
						w.says("take", "taken")
					}
					terminated(t, w)
				})
			}
		}
	}
}

// terminated sends SIGTERM and more to a worker with a request in progress.
func terminated(t *testing.T, w *worker) {
	t.Helper()
	r := w.open(false)
	request := post("stream", "1234")
	io.WriteString(r.conn, request[:len(request)-4])
	io.ReadFull(r.conn, make([]byte, 5))
	queued := w.open(false)
	io.WriteString(queued.conn, get("hello"))
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGTERM, syscall.SIGUSR2} {
		w.cmd.Process.Signal(signal)
		io.WriteString(r.conn, "1")
	}
	if reply := r.read(); !strings.HasSuffix(reply, "nextnextnextnext") {
		t.Errorf("the request in progress: %q\n%s", reply, w.stderr)
	}
	if reply := queued.read(); body(reply) != "hello" {
		t.Errorf("the one in the link: %q\n%s", reply, w.stderr)
	}
	r.wait()
	queued.wait()
	if code := w.exit(); code != 0 {
		t.Errorf("exit status %d\n%s", code, w.stderr)
	}
}

// The application's own signals reach its event loop, and SIGTERM does not stop it.
func TestSignalsOfAnEventLoop(t *testing.T) {
	w := serve(t, takerApp)
	w.says("run", "through")
	if code := w.exit(); code != 0 {
		t.Errorf("exit status %d\n%s", code, w.stderr)
	}
	if strings.Count(w.stderr.String(), "the application's handler for SIGTERM is not used") != 1 {
		t.Errorf("log: %s", w.stderr)
	}
}

// An application sees its own handlers, and one line in the log for each signal.
func TestHandlersThatAreNotUsedAreLoggedOnce(t *testing.T) {
	w := serve(t, `
import signal
def handler(*args): pass
def do_set(env, start):
    old = signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGUSR2, handler)
    signal.signal(signal.SIGUSR1, handler)
    return reply(start, [old == handler] + [signal.getsignal(n) is handler for n in (15, signal.SIGUSR2, signal.SIGUSR1)])
def do_wrong(env, start):
    out = []
    for call in (lambda: signal.signal(15, "text"), lambda: signal.signal(99, handler), lambda: signal.set_wakeup_fd(999), lambda: signal.set_wakeup_fd(-1)):
        try:
            out.append(call())
        except Exception as error:
            out.append(type(error).__name__)
    return reply(start, out)
def do_child(env, start):
    pid = os.fork()
    if not pid:
        os._exit(0 if signal.getsignal(signal.SIGTERM) is handler and signal.signal.__module__ == "signal" else 1)
    return reply(start, os.waitpid(pid, 0)[1])
`)
	w.says("wrong", "['TypeError', 'ValueError', 'OSError', -1]")
	w.says("set", "[False, True, True, True]")
	w.says("set", "[True, True, True, True]")
	w.says("child", "0")
	w.stop()
	if n := strings.Count(w.stderr.String(), "\n"); n != 2 || !strings.Contains(w.stderr.String(), "handler for SIGTERM is not used") {
		t.Errorf("%d lines: %s", n, w.stderr)
	}
}

// What changes the handler without Python's knowledge is undone by the next request.
func TestHandlerOfALibraryInC(t *testing.T) {
	w := serve(t, `
import ctypes, signal
def do_take(env, start):
    ctypes.CDLL(None).signal(signal.SIGTERM, 1)
    return reply(start, "taken")
`)
	w.says("take", "taken") // the first request ends by a look at once
	w.cmd.Process.Signal(syscall.SIGTERM)
	if code := w.exit(); code != 0 {
		t.Errorf("exit status %d\n%s", code, w.stderr)
	}
}

// A dump takes the frames of threads that run. Whatever they do meanwhile, the
// worker lives.
func TestDumpsOfABusyWorkerHarmNothing(t *testing.T) {
	w := serve(t, `
import threading
over = threading.Event()
def deep(n):
    return n and deep(n - 1) or 0
def busy():
    while not over.is_set():
        deep(20)
        threading.Thread(target=deep, args=(3,)).start()
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads: thread.start()
def do_end(env, start):
    over.set()
    for thread in threads: thread.join()
    return reply(start, "ended")
`)
	for range 300 {
		more := w.stderr.more()
		w.cmd.Process.Signal(syscall.SIGUSR2)
		select {
		case <-more: // a second signal of the same number at once would be merged with it
		case <-w.exited:
		}
	}
	w.says("end", "ended")
	w.stop()
}

// A crash in an extension in C says where in Python it was.
func TestACrashWritesItsStack(t *testing.T) {
	w := serve(t, "import ctypes\ndef do_crash(env, start):\n    ctypes.string_at(0)\n")
	r := w.open(false)
	io.WriteString(r.conn, get("crash"))
	w.exit()
	if log := w.stderr.String(); !strings.Contains(log, "Segmentation fault") || !strings.Contains(log, "in do_crash") {
		t.Errorf("log: %s", log)
	}
}

// A dump is written whatever became of its handler, and harms nothing.
func TestDumpAfterFaulthandlerWasUsed(t *testing.T) {
	for _, use := range []string{"faulthandler.unregister(signal.SIGUSR2)", "faulthandler.enable()", "signal.signal(signal.SIGUSR2, signal.SIG_DFL)"} {
		w := serve(t, fmt.Sprintf("import faulthandler, signal\ndef do_use(env, start):\n    %s\n    return reply(start, 'used')\n", use))
		w.says("use", "used")
		w.cmd.Process.Signal(syscall.SIGUSR2)
		w.says("hello", "hello")
		w.stop()
	}
}
