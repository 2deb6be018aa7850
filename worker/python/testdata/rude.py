"""What applications do against the rules; X-Do names it."""

import os
import sys

TEXT = ("Content-Type", "text/plain")


def application(env, start):
    return globals()["do_" + env["HTTP_X_DO"].replace("-", "_")](env, start)


def do_patient(env, start):
    """Has the server read away the rest of bodies for as long as it takes."""
    sys._getframe(2).f_globals["DRAIN_SECONDS"] = 600
    start("200 OK", [TEXT])
    return [b"not read\n"]


def do_hello(env, start):
    start("200 OK", [TEXT])
    return [b"hello\n"]


def do_hop(env, start):
    hop = ["Connection", "keep-alive", "Transfer-Encoding", "TE", "Trailer", "Proxy-Connection", "Status"]
    start("200 OK", [TEXT] + [(name, "chunked") for name in hop])
    return [b"x"]


def do_header(env, start):
    """X-Case picks a header that must not reach the wire."""
    bad = {
        "crlf": ("X-A", "1\r\nX-Injected: 1"),
        "lf": ("X-A", "1\nX-Injected: 1"),
        "cr": ("X-A", "1\rX-Injected: 1"),
        "nul": ("X-A", "1\0"),
        "space": ("X A", "1"),
        "colon": ("X-A: 1\r\nX-Injected", "1"),
        "empty": ("", "1"),
        "bytes": (b"X-A", b"1"),
        "number": ("X-A", 1),
        "wide": ("X-A", "\u20ac"),
        "length": ("Content-Length", "ten"),
        "minus": ("Content-Length", "-1"),
    }
    start("200 OK", [TEXT, bad[env["HTTP_X_CASE"]]])
    return [b"x"]


def do_status(env, start):
    start(env["HTTP_X_STATUS"].encode("latin-1").decode("unicode_escape"), [TEXT])
    return [b"x"]


def do_two_lengths(env, start):
    start("200 OK", [TEXT, ("Content-Length", "1"), ("Content-Length", "2")])
    return [b"x"]


def do_long(env, start):
    start("200 OK", [TEXT, ("Content-Length", "5")])
    return [b"12", b"34567", b"89"]


def do_short(env, start):
    start("200 OK", [TEXT, ("Content-Length", "10")])
    return [b"12345"]


def do_bodiless(env, start):
    start(env.get("HTTP_X_STATUS", "200 OK"), [TEXT, ("Content-Length", "4")])
    return [b"body"]


def do_bare(env, start):
    start(env.get("HTTP_X_STATUS", "200 OK"), [TEXT])
    return [b"body"]


def do_silent(env, start):
    return [b"no start_response"]


def do_twice(env, start):
    start("200 OK", [TEXT])
    start("200 OK", [TEXT])
    return [b"x"]


def do_text(env, start):
    start("200 OK", [TEXT])
    return ["text"]


def do_none(env, start):
    start("200 OK", [TEXT])


def do_exit(env, start):
    sys.exit(3)


class BadClose:
    def __iter__(self):
        return iter([b"body"])

    def close(self):
        raise RuntimeError("close failed")


def do_bad_close(env, start):
    start("200 OK", [TEXT])
    return BadClose()


def do_swallow(env, start):
    """Reads a body that ends early and continues all the same."""
    try:
        env["wsgi.input"].read()
    except OSError as error:
        start("200 OK", [TEXT])
        return [type(error).__mro__[1].__name__.encode()]


def do_fork(env, start):
    """A background child holds every descriptor it can, and lives on."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        try:
            os.read(os.open(env["HTTP_X_FIFO"], os.O_RDONLY), 1)
        finally:
            os._exit(0)
    start("200 OK", [TEXT])
    return [b"%d" % pid]


def do_child_exit(env, start):
    """The naive fork: the child leaves by sys.exit, through the server."""
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    start("200 OK", [TEXT])
    return [b"%d" % code]


def do_child_term(env, start):
    """SIGTERM to a child must not reach the worker."""
    import signal

    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(tell, b"x")
            signal.pause()
        finally:
            os._exit(0)
    os.read(ready, 1)
    os.kill(pid, signal.SIGTERM)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(ready)
    os.close(tell)
    start("200 OK", [TEXT])
    return [b"%d" % code]


def do_child_ignores(env, start):
    """The signals that a program started from here ignores, as a mask."""
    import subprocess

    text = subprocess.run(["cat", "/proc/self/status"], capture_output=True, check=True).stdout
    start("200 OK", [TEXT])
    return [line.split()[1] for line in text.splitlines() if line.startswith(b"SigIgn:")]


def do_clear(env, start):
    env.clear()
    raise RuntimeError("raised with nothing left")


def do_pop(env, start):
    for name in ("REQUEST_URI", "SCRIPT_NAME", "PATH_INFO", "REQUEST_METHOD"):
        del env[name]
    raise RuntimeError("raised with little left")


def do_number(env, start):
    env["REQUEST_METHOD"] = env["REQUEST_URI"] = 5
    raise RuntimeError("raised with numbers")


def do_clear_short(env, start):
    env.clear()
    start("200 OK", [TEXT, ("Content-Length", "10")])
    return [b"12345"]


def do_break_traceback(env, start):
    """Nothing that failed can be put into the log any more."""
    import traceback

    def broken(*args, **more):
        raise SystemExit(9)

    traceback.TracebackException = broken
    raise RuntimeError("never told")


class Deaf:
    def write(self, text):
        raise LookupError("deaf")

    def flush(self):
        pass


def do_break_log(env, start):
    sys.stderr = Deaf()
    raise RuntimeError("never told")


def do_ignore(env, start):
    start("403 Forbidden", [TEXT])
    return [b"not read\n"]


def do_raise(env, start):
    raise RuntimeError("raised on purpose")


def do_read(env, start):
    start("200 OK", [TEXT])
    return [b"%d" % len(env["wsgi.input"].read())]


def do_read_on(env, start):
    """Reads the body after the reply has begun; X-How says how."""
    start("200 OK", [TEXT])

    def chunks():
        yield b"begun "
        read = getattr(env["wsgi.input"], env["HTTP_X_HOW"])
        try:
            while read():
                pass
        except Exception as error:
            yield type(error).__name__.encode()

    return chunks()
