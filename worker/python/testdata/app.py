"""The application that the tests ask: X-Do names what it does.

It keeps to PEP 3333, so that wsgiref.validate finds nothing; what breaks the
rules on purpose is in rude.py.
"""

import hashlib
import io
import json
import os
import sys
import tempfile
import threading
import time

TEXT = ("Content-Type", "text/plain")
closed = []
rendezvous = threading.Barrier(4, timeout=20)


def application(env, start):
    name = env.get("HTTP_X_DO", "hello")
    return globals()["do_" + name.replace("-", "_")](env, start)


def make(text, **more):
    """A factory; its application replies with its arguments."""

    def made(env, start):
        start("200 OK", [TEXT])
        return [(text + "".join(more.values())).encode()]

    return made


def do_hello(env, start):
    start("200 OK", [TEXT])
    return [b"hello\n"]


def do_env(env, start):
    body = json.dumps({k: v if isinstance(v, (str, bool, float)) else repr(v) for k, v in env.items()})
    start("200 OK", [("Content-Type", "application/json")])
    return [body.encode("ascii")]


def do_pid(env, start):
    start("200 OK", [TEXT])
    return [b"%d" % os.getpid()]


def do_slow(env, start):
    time.sleep(float(env.get("HTTP_X_SECONDS", "0.05")))
    return do_hello(env, start)


def do_meet(env, start):
    rendezvous.wait()
    return do_hello(env, start)


def do_thread(env, start):
    start("200 OK", [TEXT])
    return [threading.current_thread().name.encode()]


# --- the body ---


def do_echo(env, start):
    data = env["wsgi.input"].read(int(env["CONTENT_LENGTH"]))
    assert env["wsgi.input"].read(1) == b""
    start("200 OK", [TEXT])
    return [data]


def do_input(env, start):
    """Reads by all ways; X-How lists them."""
    source, out = env["wsgi.input"], []
    for how in env["HTTP_X_HOW"].split():
        if how == "lines":
            out.append([line.decode("latin-1") for line in source])
            continue
        if how == "readlines":
            out.append([line.decode("latin-1") for line in source.readlines()])
            continue
        name, _, size = how.partition(":")
        data = getattr(source, name)(*([int(size)] if size else []))
        out.append([part.decode("latin-1") for part in data] if isinstance(data, list) else data.decode("latin-1"))
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(out).encode("ascii")]


def do_sum(env, start):
    digest, total = hashlib.sha256(), 0
    while True:
        data = env["wsgi.input"].read(50000)
        if not data:
            break
        digest.update(data)
        total += len(data)
    start("200 OK", [TEXT])
    return [("%d %s" % (total, digest.hexdigest())).encode()]


def do_pipe(env, start):
    """A reply as long as the body, chunk by chunk."""
    start("200 OK", [TEXT])

    def chunks():
        while True:
            data = env["wsgi.input"].read(65536)
            if not data:
                return
            yield data

    return chunks()


def do_write_first(env, start):
    """A large reply, and only then the body."""
    start("200 OK", [TEXT])
    size = int(env["CONTENT_LENGTH"])

    def chunks():
        for _ in range(size // 65536):
            yield b"w" * 65536
        digest = hashlib.sha256(env["wsgi.input"].read(size)).hexdigest()
        yield digest.encode()

    return chunks()


def do_ignore(env, start):
    start("403 Forbidden", [TEXT])
    return [b"not read\n"]


def do_big(env, start):
    size = int(env["HTTP_X_SIZE"])
    start("200 OK", [TEXT, ("Content-Length", str(size))])
    return [b"b" * size]


# --- the reply ---


def do_status(env, start):
    code = env["HTTP_X_STATUS"]
    headers = [] if code[:3] in ("204", "304") else [TEXT]
    start(code, headers)
    return [] if not headers else [b"body"]


class Watched:
    """An iterable that notes its close."""

    def __init__(self, tag, chunks):
        self.tag, self.chunks = tag, iter(chunks)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.chunks)

    def close(self):
        closed.append(self.tag)


def do_watched(env, start):
    start("200 OK", [TEXT])
    return Watched(env["HTTP_X_TAG"], [b"", b"one", b"", b"two"])


def do_endless(env, start):
    start("200 OK", [TEXT])

    def chunks():
        while True:
            yield b"x" * 10000

    return Watched(env["HTTP_X_TAG"], chunks())


def do_closed(env, start):
    start("200 OK", [TEXT])
    return [str(closed.count(env["HTTP_X_TAG"])).encode()]


def do_stream(env, start):
    """Each chunk waits for a byte of the body, so the peer paces it."""
    start("200 OK", [TEXT, ("X-Accel-Buffering", "no")])

    def chunks():
        yield b"first"
        while True:
            if not env["wsgi.input"].read(1):
                return
            yield b"next"

    return chunks()


def do_write(env, start):
    write = start("200 OK", [TEXT])
    write(b"by write, ")
    write(b"")
    return [b"by iterable"]


def do_empty(env, start):
    start("200 OK", [TEXT])
    return []


def do_none(env, start):
    start("200 OK", [TEXT])

    def chunks():
        return
        yield

    return chunks()


def do_headers(env, start):
    start(
        "200 OK",
        [
            TEXT,
            ("X-Accel-Redirect", "/file"),
            ("X-Sendfile", "/file"),
            ("X-LIGHTTPD-send-file", "/file"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("X-Latin", "caf\xe9"),
        ],
    )
    return [b"x"]


def do_redirect(env, start):
    start("302 Found", [("Location", "/elsewhere"), TEXT])
    return [b""]


def do_replaced(env, start):
    """An error page in place of a reply that had not begun."""
    start("200 OK", [TEXT, ("X-Old", "yes")])
    try:
        raise ValueError("replaced")
    except ValueError:
        start("503 Service Unavailable", [TEXT], sys.exc_info())
    return [b"sorry"]


def do_late(env, start):
    """exc_info after the headers are sent must come back."""
    write = start("200 OK", [TEXT])
    write(b"begun")
    try:
        raise ValueError("too late")
    except ValueError:
        start("500 Oops", [TEXT], sys.exc_info())
    return [b"not reached"]


def do_raise(env, start):
    raise RuntimeError("raised on purpose")


def do_raise_late(env, start):
    start("200 OK", [TEXT])

    def chunks():
        yield b"begun"
        raise RuntimeError("raised late")

    return Watched(env.get("HTTP_X_TAG", ""), chunks())


def do_errors(env, start):
    env["wsgi.errors"].write("a line for the log\n")
    env["wsgi.errors"].flush()
    return do_hello(env, start)


# --- files ---

PATTERN = b"0123456789abcdef" * 4096  # 64 KiB


def do_file(env, start):
    """X-File names the kind of file, X-Seek where to begin, X-Length what to state."""
    kind = env.get("HTTP_X_FILE", "temp")
    if kind == "bytes":
        source = io.BytesIO(PATTERN)
    elif kind == "proc":
        source = open("/proc/sys/kernel/ostype", "rb")  # states 0 bytes, and has 6
    elif kind == "gzip":
        import gzip

        path = tempfile.mkstemp()[1]
        with gzip.open(path, "wb") as packed:
            packed.write(PATTERN)
        source = gzip.open(path, "rb")
        os.unlink(path)
    else:
        source = {"temp": tempfile.TemporaryFile, "named": tempfile.NamedTemporaryFile}[kind]()
        source.write(PATTERN)
        source.seek(0)
    skip = int(env.get("HTTP_X_SEEK", "0"))
    if skip:
        source.read(skip)  # buffered: the descriptor is further than the file
    headers = [TEXT]
    if "HTTP_X_LENGTH" in env:
        headers.append(("Content-Length", env["HTTP_X_LENGTH"]))
    start("200 OK", headers)
    wrapped = env["wsgi.file_wrapper"](source, 1000)
    if kind == "named":
        close = wrapped.close

        def noting():
            closed.append("%s:%d" % (env["HTTP_X_TAG"], source.tell()))
            close()

        wrapped.close = noting
    return wrapped


def do_endless(env, start):
    start(env.get("HTTP_X_STATUS", "200 OK"), [TEXT])
    try:
        while True:
            yield b"more\n"
    finally:
        closed.append(env.get("HTTP_X_TAG"))
