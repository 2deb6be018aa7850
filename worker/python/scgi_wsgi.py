#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""scgi_wsgi serves a WSGI application as a worker of scgid.

scgid starts it, with one end of the worker link (protocol 1, see
scgid-worker(7)) in SCGID_WORKER_FD, and passes it one accepted SCGI connection
after another. It accepts nothing itself, does not speak HTTP and starts no
process: scgid decides how many workers there are.

One file, standard library only, Python 3.9 and newer. The names below are not
an interface; the command line, the link and PEP 3333 are.
"""

import sys

# The application shares this process, so nothing of it may stand in for what is
# needed here. Python has put this file's directory in front of the path, and
# PYTHONPATH may name the application's: the library's modules come from behind.
SCRIPT = __name__ == "__main__"
if SCRIPT and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    del sys.path[0]
PATH = sys.path[:]  # put back by load
_zip = "/python%d%d.zip" % sys.version_info[:2]  # the first entry that is Python's own
sys.path[:] = PATH[next((n for n, entry in enumerate(PATH) if entry.endswith(_zip)), 0) :]

import os

# What this is going to be is said before the imports, which take their time: other
# workers wait for it.
PRELOAD = os.environ.pop("SCGID_PRELOAD", None) if SCRIPT else None
if PRELOAD in ("worker", "application"):
    try:
        os.write(int(os.environ["SCGID_WORKER_FD"]), b"PRELOAD=" + PRELOAD.encode())
    except (KeyError, ValueError, OSError):
        pass  # take_link says what is wrong

import argparse
import ast
import builtins
import importlib
import importlib.machinery
import importlib.util
import re
import signal
import threading
from _queue import SimpleQueue
from _signal import SIG_DFL, SIG_IGN, SIG_UNBLOCK, SIGINT, SIGTERM, SIGUSR2
from _signal import default_int_handler, pthread_kill, pthread_sigmask, set_wakeup_fd, siginterrupt
from _signal import signal as set_handler
from _socket import AF_UNIX, MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_DONTWAIT, MSG_MORE, MSG_PEEK, SCM_RIGHTS
from _socket import SHUT_RD, SHUT_RDWR, SHUT_WR, SO_DOMAIN, SO_LINGER, SO_RCVTIMEO, SOCK_SEQPACKET, SOCK_STREAM
from _socket import SOL_SOCKET, CMSG_SPACE, socketpair
from _socket import socket as Socket  # socket.socket is a class in Python around it, and slower
from _thread import allocate_lock, get_ident, start_new_thread
from _thread import stack_size as set_stack_size
from ast import literal_eval
from atexit import _run_exitfuncs as run_exit_functions
from errno import EBADF, ECONNRESET, EINVAL, EIO, ENOSYS, EOPNOTSUPP, ETIMEDOUT
from faulthandler import dump_traceback as dump_stacks
from faulthandler import enable as dump_when_it_crashes
from fcntl import F_DUPFD_CLOEXEC, F_GETFL, fcntl
from gc import collect, freeze
from http import HTTPStatus
from io import BufferedRandom, BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from mmap import mmap
from os import O_APPEND, O_CLOEXEC, O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_TMPFILE, O_ACCMODE
from os import _exit, environ, fork, fsdecode, fstat, ftruncate, getcwd, getpid, getppid, listdir, major, readlink
from os import pread, pwrite, register_at_fork, sendfile, set_inheritable, unlink, urandom
from os import close as close_fd
from os import dup2 as copy_fd
from os import open as open_fd
from os import write as write_fd
from select import POLLIN, POLLOUT, poll
from signal import Handlers
from signal import Signals as Names
from stat import S_ISCHR, S_ISDIR, S_ISREG
from struct import Struct, unpack
from threading import Thread
from time import monotonic, monotonic_ns, sleep
from traceback import format_exception

# traceback imports these when it first needs them.
import linecache
import tokenize

if sys.version_info >= (3, 12):
    import unicodedata
if sys.version_info >= (3, 13):
    import _suggestions

# Nothing below sees what the application does to the builtins (from Python 3.10 on),
# and nothing calls this module the application's.
__builtins__ = dict(vars(builtins))
__name__ = "scgi_wsgi"

VERSION = "0.1.0"

MAX_HEADER = 1 << 20  # bytes of a header block; scgid's own limit is lower
MAX_DRAIN = 16 << 20  # bytes of an unread body that are read away at the end
DRAIN_SECONDS = 2.0
GAP_SECONDS = 0.2  # without a byte, until the rest of a body is not awaited before a reply
READ_SECONDS = 60.0  # without a byte, until a body read is given up
LOOK_SECONDS = 0.25  # between two looks for a client's hang-up
TAKE_SECONDS = 1.0  # until the signals' handlers are installed again
THREAD_SECONDS = 5.0  # that an end waits for the application's threads; mod_wsgi's shutdown-timeout
FIRST_READ = 16384
BLOCK = 1 << 18
JOIN = 1 << 16  # a first chunk up to this size is copied behind the headers
MEMORY_SPOOL = 1 << 20
PAGE_SLOTS = 126
PAGE_IDS = (1 << 48) - 1
HIGH_FD = 500  # descriptors from here on are out of the way of applications that close the low ones

CONTROL_ROOM = CMSG_SPACE(4 * 4)  # room for 4 descriptors; the kernel closes more
PEEK = MSG_PEEK | MSG_DONTWAIT
WHOLE = slice(None)
start_method = Thread.start
TIMEVAL = Struct("@ll").pack
NO_LINGER = Struct("@ii").pack(1, 0)


def note(text):
    """Writes one message to the log; in one piece, so that threads do not mix."""
    text = "scgi_wsgi: " + text + "\n"
    try:
        sys.stderr.write(text)
    except (AttributeError, ValueError):  # the application took it away, or closed it
        try:
            LOG.write(text)
        except Exception:
            pass
    except Exception:
        pass  # nobody reads the log, or it is the application's: not a reason to fail a request


class LogFile(FileIO):
    """Descriptor 1 or 2. A log that takes no more (its reader is gone, the disk is
    full, the descriptor is closed) never fails a write: the text is dropped."""

    def write(self, data):
        try:
            done = FileIO.write(self, data)
        except OSError:
            done = None
        return len(data) if done is None else done


class LogText(TextIOWrapper):
    """sys.stdout or sys.stderr. An application that closes it can still print."""

    def close(self):
        self.flush()


def log_stream(fd, old):
    """Returns the stream that takes the place of Python's own, old."""
    raw = LogFile(fd, "wb", closefd=False)
    unbuffered = getattr(old, "write_through", False)  # python -u
    stream = LogText(raw if unbuffered else BufferedWriter(raw), getattr(old, "encoding", None) or "utf-8",
        "backslashreplace", line_buffering=True, write_through=unbuffered)
    stream.mode = "w"
    return stream


def fill_low_fds():
    """Opens /dev/null where 0, 1 or 2 is closed: what is opened next would become
    the standard output of somebody."""
    for fd in range(3):
        try:
            fstat(fd)
        except OSError:
            null = open_fd("/dev/null", O_RDWR | O_CLOEXEC)
            copy_fd(null, fd)
            if null != fd:
                close_fd(null)


def raise_fd(fd, least):
    """Returns a copy of fd that is at least least, and closes fd; or fd itself."""
    try:
        high = fcntl(fd, F_DUPFD_CLOEXEC, least)
    except OSError:
        return fd  # RLIMIT_NOFILE is lower
    close_fd(fd)
    return high


def flush_log():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass


# --- what a client can do wrong -------------------------------------------


class BadRequest(Exception):
    """The header block is not one; the text is for the client, code too."""

    def __init__(self, status, reason):
        Exception.__init__(self, reason)
        self.status = status


class ShortBody(ConnectionError):
    """The client closed before it had sent CONTENT_LENGTH bytes."""

    status = "400 Bad Request"


class SlowBody(TimeoutError):
    """The client sent nothing for longer than --read-timeout."""

    status = "408 Request Timeout"


class ClientGone(ConnectionError):
    """The client does not take the reply any more."""


# --- the request -----------------------------------------------------------


class Input:
    """wsgi.input: exactly CONTENT_LENGTH bytes, then end of file.

    It also receives the header block, so that one recv brings both when they
    are small. A body that the client closes early raises ShortBody.
    """

    buf = b""  # received and not yet read: buf[pos:]
    pos = 0
    ended = False  # the client has closed its side
    surplus = False  # bytes followed the body
    spool = None  # body received while a reply was being sent
    spooled = 0  # bytes of the spool not yet read
    lost = None  # why a part of the body is gone; a later read raises it
    told = False  # the socket knows the patience

    def __init__(self, conn, limits):
        self.conn = conn
        self.limits = limits  # read_timeout: seconds; max_drain: bytes that gather receives at most
        self.left = 0  # bytes of the body still to be received
        self.bare = True  # nothing follows the header block

    def receive(self, size):
        """Blocks for 1 to size bytes; b"" at the end. SlowBody after the read timeout."""
        if not self.told:
            # A request that came whole never gets here and saves the call.
            set_read_timeout(self.conn, self.limits.read_timeout)
            self.told = True
        try:
            data = self.conn.recv(size)
        except BlockingIOError:
            raise SlowBody(ETIMEDOUT, "the client stopped sending") from None
        except ConnectionError:
            data = b""
        if not data:
            self.ended = True
        return data

    def header(self):
        """Returns the strings of the header block, names and values in turn and an end
        that means nothing; None from a client that closed without a byte. What follows
        the block becomes the body's beginning."""
        try:
            data = self.conn.recv(FIRST_READ, MSG_DONTWAIT)
        except BlockingIOError:
            data = self.receive(FIRST_READ)
        except ConnectionError:
            data = b""
        if not data:
            return None
        if data[-1] == 44:  # a comma: perhaps nothing follows the block
            parts = data.decode("latin-1").split("\0")
            if parts[-1] == "," and parts[0] == f"{len(data) - len(parts[0]) + 13}:CONTENT_LENGTH":
                parts[0] = "CONTENT_LENGTH"
                return parts
        colon = data.find(b":", 0, 11)
        while colon < 0 and len(data) < 11 and data.isdigit():
            data += self.more(FIRST_READ)
            colon = data.find(b":", 0, 11)
        size = data[: max(colon, 0)]
        if not size.isdigit() or (size[0] == 48 and len(size) > 1):
            raise BadRequest("400 Bad Request", "not a netstring")
        if int(size) > MAX_HEADER:
            raise BadRequest("431 Request Header Fields Too Large", "header block too large")
        begin = colon + 1
        end = begin + int(size)
        if len(data) <= end:
            data = self.rest(data, end + 1)
        if data[end] != 44:
            raise BadRequest("400 Bad Request", "no comma after the header block")
        if len(data) > end + 1:
            self.buf = data
            self.pos = end + 1
        parts = data[begin:end].decode("latin-1").split("\0")
        if parts[-1] or end == begin:
            raise BadRequest("400 Bad Request", "the header block does not end with NUL")
        if parts[0] != "CONTENT_LENGTH":
            raise BadRequest("400 Bad Request", "CONTENT_LENGTH is not first")
        return parts

    def more(self, size):
        data = self.receive(size)
        if not data:
            raise BadRequest("400 Bad Request", "the header block ends early")
        return data

    def rest(self, data, size):
        parts = [data]
        have = len(data)
        while have < size:
            data = self.more(max(size - have, FIRST_READ))
            parts.append(data)
            have += len(data)
        return b"".join(parts)

    def begin_body(self, length):
        self.bare = False
        have = len(self.buf) - self.pos
        if have > length:
            self.surplus = True
            self.buf = self.buf[: self.pos + length]
            have = length
        self.left = length - have

    def unread(self):
        """How many bytes may be on their way that nobody has received. Some web
        servers send more of a body than they said."""
        if self.ended:
            return 0
        if self.surplus or not self.left and self.knocks():
            return sys.maxsize
        return self.left

    def knocks(self):
        """Says whether there is anything to be received."""
        try:
            return bool(self.conn.recv(1, PEEK))
        except OSError:
            return False

    def fill(self, size):
        """Puts at least a byte into an empty buffer; False at the end."""
        if self.lost:
            # Not an OSError: that would pass for the client's.
            raise RuntimeError("cannot keep the request's body: %s" % self.lost) from self.lost
        if self.spooled:
            data = self.spool.read(min(self.spooled, max(size, 65536)))
            self.spooled -= len(data)
        elif self.left:
            data = b"" if self.ended else self.receive(min(self.left, min(max(size, 65536), BLOCK)))
            if not data:
                raise ShortBody(ECONNRESET, "the client closed %d bytes early" % self.left)
            self.left -= len(data)
        else:
            return False
        self.buf = data
        self.pos = 0
        return True

    def stash(self):
        """Receives what is there without waiting, for later reads."""
        data = b""
        try:
            data = self.conn.recv(min(self.left, BLOCK), MSG_DONTWAIT)
            self.ended = not data
        except BlockingIOError:
            return
        except ConnectionError:
            self.ended = True
        if data:
            self.left -= len(data)
            self.keep(data)

    def keep(self, data):
        """Puts data into the spool. Where that fails (no directory, a full disk) the
        rest of the body is received all the same: the reply may not need it."""
        if self.lost:
            return
        try:
            if self.spool is None:
                self.spool = Spool()
            self.spool.write(data)
        except OSError as error:
            self.lost = error
            self.drop()
            return
        self.spooled += len(data)

    def drop(self):
        """Gives back what the spool holds."""
        spool, self.spool, self.spooled = self.spool, None, 0
        if spool is not None:
            spool.close()

    def gather(self):
        """Receives the rest of the body before a reply begins, while it flows and
        within bounds: nginx stops sending a body at the reply's first byte, and
        an application that reads on would wait for it in vain."""
        poller = poll()
        poller.register(self.conn.fileno(), POLLIN)
        end = monotonic() + DRAIN_SECONDS
        limit = self.left - self.limits.max_drain
        while self.left > max(limit, 0) and not self.ended:
            wait = min(end - monotonic(), GAP_SECONDS)
            if wait <= 0 or not poller.poll(wait * 1000):
                return
            self.stash()

    def send(self, data):
        """Sends data while the body still arrives: Apache writes all of a body
        before it reads a byte of the reply, and we must not wait for each other."""
        view = memoryview(data)
        poller = None
        while view:
            try:
                view = view[self.conn.send(view, MSG_DONTWAIT) :]
                continue
            except BlockingIOError:
                pass
            if not self.left or self.ended:
                self.conn.sendall(view)
                return
            if poller is None:
                poller = poll()
                poller.register(self.conn.fileno(), POLLIN | POLLOUT)
            if poller.poll()[0][1] & POLLIN:
                self.stash()

    def take(self, size):
        data = self.buf[self.pos : self.pos + size]
        self.pos += len(data)
        return data

    def read(self, size=-1):
        if size is None or size < 0:
            size = sys.maxsize
        data = self.take(size)
        if len(data) == size or not (self.left or self.spooled or self.lost):
            return data
        parts = [data]
        size -= len(data)
        while size and self.fill(size):
            parts.append(self.take(size))
            size -= len(parts[-1])
        return b"".join(parts)

    def read1(self, size=-1):
        """At most one wait: what there is, up to size."""
        if self.pos == len(self.buf) and size != 0:
            self.fill(BLOCK if size is None or size < 0 else size)
        return self.take(sys.maxsize if size is None or size < 0 else size)

    def readinto(self, buffer):
        data = self.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readline(self, size=-1):
        if size is None or size < 0:
            size = sys.maxsize
        parts = []
        while size:
            at = self.buf.find(b"\n", self.pos, self.pos + size)
            if at >= 0:
                parts.append(self.take(at + 1 - self.pos))
                break
            parts.append(self.take(size))
            size -= len(parts[-1])
            if size and not self.fill(size):
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readlines(self, hint=-1):
        lines = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    # io's wrappers (TextIOWrapper, BufferedReader) ask for these.
    closed = False

    def readable(self):
        return True

    def writable(self):
        return False

    def seekable(self):
        return False

    def flush(self):
        pass

    def close(self):
        pass


class Spool:
    """Bytes in the order in which they came: up to MEMORY_SPOOL of them in memory,
    then all in a file without a name, in TMPDIR. Raises OSError where that fails.

    Not tempfile's, whose modules would take half as much memory again as the worker.
    """

    __slots__ = ("memory", "fd", "begin", "end")

    def __init__(self):
        self.memory = bytearray()
        self.fd = -1
        self.begin = self.end = 0  # of what is unread in the file

    def write(self, data):
        if self.fd < 0 and len(self.memory) + len(data) > MEMORY_SPOOL:
            self.fd = temporary_file()
            self.append(self.memory)
            self.memory = None
        if self.fd < 0:
            self.memory += data
        else:
            self.append(data)

    def append(self, data):
        if self.begin == self.end and self.end:
            self.begin = self.end = 0
            ftruncate(self.fd, 0)
        view = memoryview(data)
        while view:
            done = pwrite(self.fd, view, self.end)
            self.end += done
            view = view[done:]

    def read(self, size):
        if self.fd < 0:
            data = bytes(self.memory[:size])
            del self.memory[:size]
            return data
        data = pread(self.fd, min(size, self.end - self.begin), self.begin)
        self.begin += len(data)
        return data

    def close(self):
        fd, self.fd, self.memory = self.fd, -1, bytearray()
        if fd >= 0:
            close_fd(fd)


def temporary_file():
    """Opens a file without a name, where tempfile would."""
    lost = None
    for directory in (environ.get("TMPDIR"), environ.get("TEMP"), environ.get("TMP"), "/tmp", "/var/tmp", "."):
        if not directory:
            continue
        try:
            return open_fd(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0o600)
        except OSError:
            pass  # not every file system can
        path = "%s/scgi_wsgi.%s" % (directory, urandom(12).hex())
        try:
            fd = open_fd(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
            unlink(path)
            return fd
        except OSError as error:
            lost = lost or error
    raise lost


def set_read_timeout(conn, seconds):
    whole = int(seconds)
    conn.setsockopt(SOL_SOCKET, SO_RCVTIMEO, TIMEVAL(whole, int((seconds - whole) * 1e6)))


def parse(parts):
    """Returns the variables of a header block and its CONTENT_LENGTH.

    Strict as the specification; lenient where front ends are known to differ:
    SCGI may be absent (nginx without scgi_params) and names may come twice.
    """
    part = iter(parts)
    variables = dict(zip(part, part))
    if 2 * len(variables) + 1 != len(parts):
        variables = merge(parts)
    length = 0
    if parts[1] != "0":
        if not (parts[1].isascii() and parts[1].isdigit()) or len(parts[1]) > 19 or int(parts[1]) >= 1 << 63:
            raise BadRequest("400 Bad Request", "CONTENT_LENGTH is not a number")
        length = int(parts[1])
    if "" in variables:
        raise BadRequest("400 Bad Request", "a variable without name")
    if variables.get("SCGI", "1") != "1":
        raise BadRequest("400 Bad Request", "not SCGI version 1")
    return variables, length


def merge(parts):
    """Joins headers that came twice, as RFC 9110 section 5.3 does; of other
    variables (a parameter set twice in a front end's file) the last counts."""
    if not len(parts) & 1:
        raise BadRequest("400 Bad Request", "a variable without value")
    variables = {}
    for name, value in zip(parts[::2], parts[1::2]):
        old = variables.get(name, value)
        if name in ("CONTENT_LENGTH", "SCGI") and old != value:
            raise BadRequest("400 Bad Request", name + " came twice")
        if name.startswith("HTTP_") and name in variables:
            value = old + ("; " if name == "HTTP_COOKIE" else ", ") + value
        variables[name] = value
    return variables


_hex = re.compile("%([0-9A-Fa-f]{2})")
_absolute = re.compile("[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_port = re.compile(":[0-9]*$")


def unquote(path):
    if "%" not in path:
        return path
    return _hex.sub(lambda found: chr(int(found.group(1), 16)), path)


def target_path(uri):
    """The decoded path of a request target; "" for "*" and nothing."""
    if not uri.startswith("/"):
        found = _absolute.match(uri)
        if not found:
            return ""
        uri = uri[found.end() :]
        if not uri.startswith("/"):
            uri = "/" + uri
    return unquote(uri.partition("?")[0].partition("#")[0])


def below(path, prefix):
    """Is path the prefix or beneath it, at a segment's boundary?"""
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/")


def place(env, mount):
    """Sets SCRIPT_NAME and PATH_INFO, which every front end sends differently."""
    script = env.get("SCRIPT_NAME")
    info = env.get("PATH_INFO")
    if info is None:
        document = env.get("DOCUMENT_URI")
        if script and document and below(document, script.rstrip("/")):
            # nginx, where SCRIPT_NAME was set to the mount and nothing else was.
            script = script.rstrip("/")
            info = document[len(script) :]
        elif script:
            # Apache and lighttpd: the whole path, and nothing was split off.
            script, info = "", script
        else:
            # nginx: its DOCUMENT_URI is decoded already.
            script, info = "", document or target_path(env.get("REQUEST_URI", ""))
    elif script and script == info and script in (env.get("DOCUMENT_URI"), target_path(env.get("REQUEST_URI", ""))):
        # A common slip in nginx's file: both are set to the whole path.
        script = ""
    if script:
        script = script.rstrip("/")
        if script and not script.startswith("/"):
            script = "/" + script
    else:
        script = ""
    if info and info[0] != "/":
        info = "" if info == "*" else "/" + info
    if mount is not None:
        whole = script + info
        if below(whole, mount):
            script, info = mount, whole[len(mount) :]
    if not info and not script and env.get("REQUEST_URI") != "*":
        info = "/"
    env["SCRIPT_NAME"] = script
    env["PATH_INFO"] = info


# HTTP_PROXY would steer outgoing requests of libraries (httpoxy). Length and type
# have keys of their own. The front end has undone any transfer coding already.
DROPPED = ("HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING")


def complete(env, mount):
    """Makes a WSGI environ of SCGI variables; in place."""
    if not env.keys().isdisjoint(DROPPED):
        for name in DROPPED:
            env.pop(name, None)
    https = env.get("HTTPS") or env.get("REQUEST_SCHEME")
    env["wsgi.url_scheme"] = "https" if https and https.lower() in ("on", "1", "https") else "http"
    place(env, mount)
    if "QUERY_STRING" not in env:
        env["QUERY_STRING"] = env.get("REQUEST_URI", "").partition("#")[0].partition("?")[2]
    if not env.get("REQUEST_METHOD"):
        env["REQUEST_METHOD"] = "GET"
    if not env.get("SERVER_NAME"):
        env["SERVER_NAME"] = _port.sub("", env.get("HTTP_HOST", "")) or "localhost"
    if not env.get("SERVER_PORT"):
        env["SERVER_PORT"] = "443" if env["wsgi.url_scheme"] == "https" else "80"
    if not env.get("SERVER_PROTOCOL"):
        env["SERVER_PROTOCOL"] = "HTTP/1.0"


# --- the reply -------------------------------------------------------------

PLAIN, LENGTH, STRIPPED, CODING = 1, 2, 3, 4

# Hop-by-hop headers are the front end's; so is the Status line's place. One of them
# describes the body, and cannot be left out alone: Transfer-Encoding.
KINDS = {"Content-Type": PLAIN, "Content-Length": LENGTH}
_kinds = {
    "content-length": LENGTH,
    "connection": STRIPPED,
    "keep-alive": STRIPPED,
    "proxy-connection": STRIPPED,
    "status": STRIPPED,
    "te": STRIPPED,
    "trailer": STRIPPED,
    "transfer-encoding": CODING,
}
STATUSES = {}
REASONS = {int(status): status.phrase for status in HTTPStatus}
MEMO = 512  # an application that makes up names must not fill our memory

_token = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_status = re.compile("([2-9][0-9][0-9])(?: [^\0-\x1f\x7f]*)?")


# What an application gives may be of a class of its own, whose methods say
# something else than the value holds. These take the value.


def exact_str(value):
    """Returns a str's own text; TypeError for what is not one, whatever it claims."""
    return value if type(value) is str else str.__str__(value)


def exact_bytes(data):
    """Returns a chunk's bytes."""
    kind = type(data)
    if issubclass(kind, bytes):
        return bytes.__getitem__(data, WHOLE)
    if issubclass(kind, bytearray):
        return bytes(bytearray.__getitem__(data, WHOLE))
    if kind is memoryview:
        return bytes(data)
    raise TypeError("the application gave %s, not bytes" % kind.__name__)


def exact_list(values):
    kind = type(values)
    if issubclass(kind, list):
        return list.__getitem__(values, WHOLE)
    return list(tuple.__getitem__(values, WHOLE) if issubclass(kind, tuple) else values)


def exact_pair(pair):
    """Returns a header's name and value as str, or ValueError with its name."""
    try:
        name, value = exact_list(pair)
        name = exact_str(name)
    except (TypeError, ValueError):
        raise ValueError("%.80r is not a header's name and value" % (pair,)) from None
    try:
        return name, exact_str(value)
    except TypeError:
        raise ValueError("the value of header %.80r is %s, not str" % (name, type(value).__name__)) from None


def kind_of(name):
    """Checks a header's name once and remembers what to do with it."""
    if not _token.fullmatch(name):
        raise ValueError("%r is not a header name" % (name,))
    kind = _kinds.get(name.lower(), PLAIN)
    if len(KINDS) < MEMO:
        KINDS[name] = kind
    return kind


def status_line(status):
    """Returns the code and the Status: line; remembers both."""
    try:
        status = exact_str(status)
        found = _status.fullmatch(status)
    except TypeError:
        found = None
    if not found:
        raise ValueError('%r is not a status such as "200 OK"' % (status,))
    code = int(found.group(1))
    text = status.rstrip()
    if len(text) == 3:
        text += " " + REASONS.get(code, "Unknown")
    answer = code, "Status: " + text + "\r\n"
    if len(STATUSES) < MEMO:
        STATUSES[status] = answer
    return answer


def compose(status, headers):
    """Returns (code, stated length or None, Chunked or None, header bytes without the empty line)."""
    code, text = type(status) is str and STATUSES.get(status) or status_line(status)
    if type(headers) is not list:
        headers = exact_list(headers)
    length = chunked = None
    lines = 1
    for pair in headers:
        if type(pair) is not tuple or len(pair) != 2:
            pair = exact_pair(pair)
        name, value = pair
        if type(name) is not str or type(value) is not str:
            name, value = exact_pair(pair)
        kind = KINDS.get(name) or kind_of(name)
        if kind is PLAIN:
            text += f"{name}: {value}\r\n"
            lines += 1
        elif kind is LENGTH:
            if not (value.isascii() and value.isdigit()) or length is not None and length != int(value):
                raise ValueError("Content-Length %r is not usable" % value)
            length = int(value)
        elif kind is CODING:
            if coding(value):
                chunked = Chunked()
    try:
        head = text.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("a value is not in Latin-1, of header " + culprits(headers)) from None
    # One look at the whole instead of one at each value.
    if len(head.splitlines()) != lines or 0 in head:
        raise ValueError("a value contains CR, LF or NUL, of header " + culprits(headers, "\r\n\0"))
    return code, length, chunked, head


def culprits(headers, text=None):
    """Names the headers whose value has a character of text, or one outside of Latin-1."""
    found = []
    for name, value in map(exact_pair, headers):
        if max(value, default="") > "\xff" if text is None else any(c in value for c in text):
            found.append(name)
    return ", ".join(found)


def coding(value):
    """Says whether a Transfer-Encoding is chunked, which we can undo."""
    names = [name.strip().lower() for name in value.split(",")]
    wrong = [name for name in names if name not in ("chunked", "identity", "")]
    if wrong or names.count("chunked") > 1:
        raise ValueError("Transfer-Encoding %r: only chunked can be undone, and the web server gets no other" % value)
    return "chunked" in names


_chunk = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_chunk_part = re.compile(rb"[0-9A-Fa-f]{1,15}[ \t]*(?:;[^\r\n]*)?\r?")
CHUNK_LINE = 4096  # bytes of a chunk's first line


class Chunked:
    """Undoes the chunked coding of an application that frames its reply itself.

    An application that sets the header and leaves the framing to the server is
    known by its first bytes, which do not begin a chunk: its body stays as it is.
    """

    def __init__(self):
        self.coded = None  # not known yet
        self.held = b""  # received, and of no use before more comes
        self.left = 0  # bytes of the chunk that are still to come; -1 is the line end behind it
        self.done = False  # the last chunk has come; what follows are trailers

    def feed(self, data):
        """Returns the bytes that data holds; ValueError if it is not chunks."""
        if self.done or self.coded is False:
            return b"" if self.done else data
        data = self.held + data
        self.held = b""
        parts = []
        at = 0
        while at < len(data) and not self.done:
            if self.left > 0:
                parts.append(data[at : at + self.left])
                at += len(parts[-1])
                self.left = self.left - len(parts[-1]) or -1
                continue
            if self.left < 0 and data[at : at + 2] == b"\r\n":
                self.left = 0
                at += 2
                continue
            if self.left < 0 and data[at:] == b"\r":
                break
            size = self.size(data, at)
            if size is None:
                break
            at, self.left = size
            self.done = not self.left
        if self.coded is False:
            return data
        self.held = data[at:]
        return b"".join(parts)

    def size(self, data, at):
        """Reads a chunk's first line: (where it ends, size), or None if more must come."""
        found = _chunk.match(data, at) if not self.left else None
        if found:
            self.coded = True
            return found.end(), int(found.group(1), 16)
        if not self.left and len(data) - at < CHUNK_LINE and _chunk_part.fullmatch(data, at):
            return None
        if self.coded:
            raise ValueError("the application's chunked reply is malformed at %.40r" % data[at : at + 40])
        self.coded = False
        return None

    def end(self):
        """Returns what is held; ValueError if the last chunk has not come."""
        if self.coded and not self.done:
            raise ValueError("the application's chunked reply ends without its last chunk")
        return b"" if self.coded else self.held


class FileWrapper:
    """wsgi.file_wrapper: sent by sendfile if it is a plain file, else by reading."""

    def __init__(self, filelike, block_size=65536):
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self):
        return self

    def __next__(self):
        data = self.filelike.read(self.block_size)
        if not data:
            raise StopIteration
        return data


def plain_file(filelike):
    """Returns (descriptor, offset, size) where sendfile sends what read would.

    By exact type: a gzip.GzipFile has a fileno too, of the compressed file.
    """
    if type(filelike).__module__ == "tempfile":
        filelike = getattr(filelike, "file", filelike)
    kind = type(filelike)
    if kind is BufferedReader or kind is BufferedRandom:
        if type(filelike.raw) is not FileIO:
            return None
    elif kind is not FileIO:
        return None
    if kind is BufferedRandom:
        filelike.flush()
    fd = filelike.fileno()
    about = fstat(fd)
    if not S_ISREG(about.st_mode) or not about.st_size:  # files of /proc state 0
        return None
    return fd, filelike.tell(), about.st_size


class Reply:
    """What goes back on one connection, by the rules of PEP 3333."""

    method = None  # with uri for the log, set when the request was understood
    uri = ""
    code = 0
    length = None  # of the body, as stated to the client
    bodiless = False  # HEAD, 204, 304
    sent = 0  # bytes of the body
    excess = False  # the application gave more than it stated
    gone = False
    finished = False  # the application has given all of the body
    chunked = None  # what undoes the application's own framing
    looked = 0.0  # when the client was last looked for

    def __init__(self, conn, input, page, ident):
        self.conn = conn
        self.input = input
        self.page = page
        self.ident = ident
        self.head = None  # header bytes, from start_response on
        self.begun = False  # the headers are on their way

    def start_response(self, status, headers, exc_info=None):
        if exc_info:
            try:
                if self.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # not a circle through this frame
        elif self.head is not None:
            raise RuntimeError("start_response was called twice without exc_info")
        self.code, self.length, self.chunked, self.head = compose(status, headers)
        self.bodiless = self.code in (204, 304) or self.method == "HEAD"
        return self.write

    def write(self, data):
        if type(data) is not bytes:
            data = exact_bytes(data)
        if data:
            self.put(data, None)
        else:
            self.look()

    def look(self):
        """Looks whether the client has left, where nothing is sent that would tell. Only
        a Unix socket knows: by TCP the end of what a client sends looks the same."""
        now = monotonic()
        if now < self.looked + LOOK_SECONDS:
            return
        self.looked = now
        poller = poll()
        poller.register(self.conn.fileno(), 0)
        if poller.poll(0):
            self.leave(OSError(ECONNRESET, ""))

    def broken(self):
        """Says whether the client got a part of the reply, and not the rest."""
        if not self.begun or self.gone or self.bodiless:
            return False
        if self.length is None:
            return not self.finished
        return self.sent < self.length

    def header(self, known):
        """Returns the header bytes; known is the body's length if it is certain."""
        if self.head is None:
            raise RuntimeError("the application did not call start_response")
        if self.input.left and not self.input.ended:
            self.input.gather()
        if self.length is None and self.code not in (204, 304) and (known or known == 0 and not self.bodiless):
            self.length = known
        self.begun = True
        self.page.begin(self.ident)
        if self.length is None or self.code == 204:
            return self.head + b"\r\n"
        return self.head + b"Content-Length: %d\r\n\r\n" % self.length

    def put(self, data, known):
        """Sends a chunk at once, the first one together with the headers."""
        if self.chunked is not None and self.bodiless:
            self.length = known = None  # whatever they were of
        elif self.chunked is not None:
            data = self.chunked.feed(data)
            if self.chunked.coded:
                self.length = None  # if it was stated, then of the framed body
            known = len(data) if known is not None and (self.chunked.done or not self.chunked.coded) else None
            if not data:
                return
        head = b"" if self.begun else self.header(known)
        if self.bodiless:
            data = b""
        elif self.length is not None and len(data) > self.length - self.sent:
            data = data[: self.length - self.sent]
            self.excess = True
        if head and len(data) > JOIN:
            self.send_both(head, data)
        elif head or data:
            self.send(head + data if head else data)
        self.sent += len(data)

    def send(self, data, flags=0):
        try:
            if self.input.left and not self.input.ended:
                self.input.send(data)
            else:
                self.conn.sendall(data, flags)
        except OSError as error:
            self.leave(error)

    def send_both(self, head, data):
        """One system call and no copy for a large first chunk."""
        if self.input.left and not self.input.ended:
            self.send(head)
            self.send(data)
            return
        try:
            done = self.conn.sendmsg((head, data))
            if done < len(head):
                self.conn.sendall(head[done:])
                done = len(head)
            if done < len(head) + len(data):
                self.conn.sendall(memoryview(data)[done - len(head) :])
        except OSError as error:
            self.leave(error)

    def leave(self, error):
        self.gone = True
        raise ClientGone(error.errno, "the client left") from None

    def run(self, app, env):
        """Calls the application and sends what it gives. True if that was all as usual."""
        result = app(env, self.start_response)
        if type(result) is list and len(result) == 1 and self.put_whole(result[0]):
            return True
        try:
            if type(result) is not FileWrapper or not self.send_file(result.filelike):
                self.send_all(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def put_whole(self, data):
        """Sends a reply of one chunk that is nothing but usual; False for any other."""
        head, stated = self.head, self.length
        if type(data) is not bytes or head is None or self.begun or self.bodiless or self.chunked is not None:
            return False
        size = len(data)
        if self.input.left or size > JOIN or stated is not None and stated != size:
            return False
        self.begun = True
        self.page.begin(self.ident)
        self.length = size
        try:
            self.conn.sendall(b"%bContent-Length: %d\r\n\r\n%b" % (head, size, data))
        except OSError as error:
            self.leave(error)
        self.sent = size
        return True

    def send_all(self, result):
        single = self.is_single(result)
        for chunk in result:
            if type(chunk) is not bytes:
                chunk = exact_bytes(chunk)
            if not chunk:
                self.look()
                continue
            self.put(chunk, len(chunk) if single else None)
            if self.excess or self.bodiless:
                break  # the reply is complete: an endless one would hold the worker for nobody
        if self.chunked is not None and not self.bodiless:
            rest, self.chunked = self.chunked.end(), None
            if rest:
                self.put(rest, None)
        if not self.begun:
            self.put(b"", 0)
        self.finished = True

    def is_single(self, result):
        """Says whether the first chunk is all, and so tells the length."""
        kind = type(result)
        if kind is list or kind is tuple:
            return len(result) == 1
        try:
            return hasattr(result, "__len__") and len(result) == 1
        except Exception:
            return False  # PEP 3333: only where a call of len succeeds

    def send_file(self, filelike):
        """Sends by sendfile; False if filelike must be read instead."""
        if self.begun or self.chunked is not None:
            return False
        found = plain_file(filelike)
        if not found:
            return False
        fd, offset, size = found
        rest = max(0, size - offset)
        head = self.header(rest)
        if self.bodiless:
            rest = 0
        elif rest > self.length:
            rest = self.length
        self.send(head, MSG_MORE if rest else 0)
        if rest and self.input.left and not self.input.ended:
            return self.send_read(fd, offset, rest)
        while rest:
            done = self.send_part(fd, offset, rest)
            if not done:
                break  # the file was truncated
            offset += done
            rest -= done
            self.sent += done
        self.finished = not rest
        return True

    def send_read(self, fd, offset, rest):
        """Where the body still arrives, which sendfile cannot look after."""
        while rest:
            data = pread(fd, min(rest, BLOCK), offset)
            if not data:
                break
            self.send(data)
            offset += len(data)
            rest -= len(data)
            self.sent += len(data)
        self.finished = not rest
        return True

    def send_part(self, fd, offset, count):
        try:
            return sendfile(self.conn.fileno(), fd, offset, min(count, 1 << 30))
        except OSError as error:
            if error.errno == EIO:
                raise  # the disk's fault, not the client's
            if error.errno not in (EINVAL, ENOSYS, EOPNOTSUPP):
                self.leave(error)
        data = pread(fd, min(count, BLOCK), offset)  # a file system without sendfile
        self.send(data)
        return len(data)

    def refuse(self, status, text):
        """Answers with a small page of our own, if that is still possible."""
        if self.begun or self.gone:
            return
        try:
            self.head = None
            self.start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
            self.put(text.encode("utf-8") + b"\n", len(text) + 1)
            self.finished = True
        except ClientGone:
            pass

    def complaint(self):
        """What the application did wrong with its Content-Length, or None."""
        if self.excess:
            return "gave more than its Content-Length of %d bytes, the rest was cut" % self.length
        if self.begun and not self.bodiless and self.length is not None and self.sent < self.length:
            return "gave %d of the %d bytes that its Content-Length states" % (self.sent, self.length)
        return None


# --- the worker ------------------------------------------------------------


class Violation(Exception):
    """The master sent what the protocol does not allow."""


unpack_one = Struct("@i").unpack  # as most messages bring


def descriptors(control):
    """Returns every descriptor that arrived; now they are ours to close."""
    found = ()
    for level, kind, data in control:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            count = len(data) // 4
            found += unpack_one(data) if len(data) == 4 else unpack("@%di" % count, data[: 4 * count])
    return found


BEGUN, FINISHED, CUT = 1 << 60, 1 << 61, 1 << 62


class Page:
    """The memory that the worker shares with the master, see scgid-worker(7): what is
    finished is published there, and the master told only while it waits for that.

    An item of a memoryview is stored by a copy of eight aligned bytes, which is one store
    of the processor, and loaded likewise. Between the store of FINISHED and the load of
    the flag are the system calls that end the connection; they keep the order, as
    package link argues. begin's store comes before the call that writes."""

    def __init__(self, words=None):
        self.words = words  # None without a page
        self.states = {}  # where the state of each connection is, by id; 0 once it is finished

    def passed(self, ident, text):
        """Takes note of the slot that CONN names."""
        slot = text.partition(b"\nSLOT=")[2].partition(b"\n")[0]
        if slot and self.words is not None and 0 <= int(slot) < PAGE_SLOTS:
            self.states[ident] = 8 + 4 * int(slot)

    def begin(self, ident):
        """Says that a reply has begun, before its first byte is written."""
        state = self.states.get(ident)
        if state:
            self.words[state] = ident & PAGE_IDS | BEGUN

    def finish(self, ident, code, sent, cut):
        """Says that nothing is left to be done but the end of the connection."""
        state = self.states.get(ident)
        if state:
            self.states[ident] = 0
            self.words[state + 1] = sent
            self.words[state + 2] = monotonic_ns()
            self.words[state] = ident & PAGE_IDS | code << 48 | BEGUN | FINISHED | (CUT if cut else 0)

    def waits(self, ident):
        """Says, after that end, whether the master has to be told by DONE."""
        return self.states.pop(ident, None) != 0 or self.words[1] != 0

    def forked(self):
        """In a child of the application: the connections are its parent's."""
        self.words = None
        self.states = {}


class Link:
    """The worker's end of the link: protocol 1, SOCK_SEQPACKET."""

    def __init__(self, sock, page):
        self.sock = sock
        self.page = page
        self.inode = fstat(sock.fileno()).st_ino
        self.conns = {}  # socket objects by descriptor, see connection
        self.held = set()  # descriptors of connections that are being served
        self.child = False  # true in a process that the application forked

    def receive(self):
        """Blocks for the next connection: (id, seconds waited, descriptor).

        None at the end of file. The descriptor is the caller's.
        """
        while True:
            try:
                text, control, flags, _ = self.sock.recvmsg(512, CONTROL_ROOM, MSG_CMSG_CLOEXEC)
            except ConnectionResetError:
                continue  # the master died with packets of ours unread; ours are still queued
            fds = descriptors(control)
            if text.startswith(b"CONN=") and len(fds) == 1:
                try:
                    ident, waited = parse_conn(text)
                    self.page.passed(ident, text)
                    return ident, waited, fds[0]
                except ValueError:
                    pass
            for fd in fds:
                close_fd(fd)
            if not text:
                return None
            if text.startswith(b"CONN="):
                # Without a word of DONE: the master gives the connection to another.
                reason = " (is LimitNOFILE reached?)" if flags & MSG_CTRUNC else ""
                raise Violation("%r came with %d descriptors%s" % (text, len(fds), reason))

    def connection(self, fd):
        """Returns the socket object of a descriptor, which it takes. Each number has one,
        which stays when the descriptor is closed: to make one costs a system call."""
        if fd < 3:  # the application closed it: prints would go to the client
            fd = raise_fd(fd, 3)
            fill_low_fds()
        conn = self.conns.get(fd)
        if conn is None:
            try:
                # Family and type are named to save the calls that ask for them; any stream does.
                conn = Socket(AF_UNIX, SOCK_STREAM, 0, fd)
            except OSError:
                close_fd(fd)
                raise
            if conn.gettimeout() is not None:  # the application's socket.setdefaulttimeout
                conn.settimeout(None)
            self.conns[fd] = conn
        return conn

    def send(self, text):
        """Sends a message; a master that is gone does not need it any more."""
        try:
            self.sock.send(text)
        except ConnectionError:
            pass

    def shut(self):
        """Takes no new connections. What is queued can still be received, then
        comes the end of file. Idempotent, and all that SIGTERM does."""
        try:
            self.sock.shutdown(SHUT_RD)
        except OSError:
            pass

    def check(self):
        """OSError if the application has closed the descriptor, or another has its number."""
        if fstat(self.sock.fileno()).st_ino != self.inode:
            raise OSError(EBADF, "it is another file now")

    def forked(self):
        """In a child of the application: the link and the connections are its parent's."""
        self.child = True
        self.page.forked()
        self.sock.close()
        self.forget()
        for fd in self.held:
            try:
                close_fd(fd)
            except OSError:
                pass

    def forget(self):
        """Leaves no socket object that would close what has its number by then."""
        for conn in self.conns.values():
            conn.detach()


def parse_conn(text):
    first, _, waited = text.partition(b"\nWAITED=")
    return int(first[5:].partition(b"\n")[0]), int(waited.partition(b"\n")[0] or 0) / 1e6


class Late(KeyboardInterrupt):
    """The end does not wait any longer for what runs now. (A kind of exception that
    event loops let through.)"""


OWN = (SIGTERM, SIGINT, SIGUSR2)


def nothing(number, frame):
    """Handles a signal whose wake-up byte is enough."""


class Signals:
    """SIGTERM shuts the link for reading, at once and always.

    A handler in Python alone is not enough: it runs between two instructions of
    the main thread. One that became due just before recvmsg went to sleep, or
    whose signal another thread received, would wait for the next packet, which
    may never come. So the C handler's wake-up byte goes to a thread of its own.

    The application's handlers for SIGTERM, SIGINT and SIGUSR2 are taken note of and
    not installed, as under mod_wsgi: signal.signal, getsignal and set_wakeup_fd
    are ours for that. What else installs a handler, such as a library in C, keeps
    it until take is called.
    """

    def __init__(self):
        self.link = None
        self.main = get_ident()
        self.count = 0  # of SIGTERMs
        self.armed = False  # the next signal raises Late
        self.asked = {SIGTERM: signal.SIG_DFL, SIGINT: default_int_handler, SIGUSR2: signal.SIG_DFL}
        self.told = set()  # signals whose handler was logged
        self.wakeup = -1  # the application's descriptor for set_wakeup_fd
        self.reader = self.writer = None  # until begin
        self.real = signal.signal, signal.getsignal, signal.set_wakeup_fd
        signal.signal, signal.getsignal, signal.set_wakeup_fd = self.signal, self.getsignal, self.set_wakeup_fd

    def begin(self, link):
        """From here on the signals are about link."""
        self.link = link
        self.reader, self.writer = (Socket(fileno=raise_fd(sock.detach(), HIGH_FD)) for sock in socketpair())
        self.writer.setblocking(False)
        pthread_sigmask(SIG_UNBLOCK, OWN)
        self.take()
        old = set_stack_size(256 << 10)
        start_new_thread(self.watch, ())  # not a thread that the threading module knows of
        set_stack_size(old)

    def take(self):
        """Installs the handlers, again after code that may have replaced them."""
        set_handler(SIGTERM, self.terminate)
        # Ctrl-C is for the master to handle. Not SIG_IGN, which children would inherit.
        set_handler(SIGINT, self.ignore)
        # The stacks are written by watch. Not by faulthandler's own handler: that
        # reads the frames of a thread that runs, and can crash of it.
        set_handler(SIGUSR2, nothing)
        for number in (SIGINT, SIGUSR2):
            siginterrupt(number, False)  # the application's libraries need not notice
        set_wakeup_fd(self.writer.fileno(), warn_on_full_buffer=False)

    def terminate(self, number, frame):
        self.count += 1
        self.link.shut()
        self.ignore(number, frame)

    def ignore(self, number, frame):
        if self.armed:
            self.armed = False
            raise Late

    def watch(self):
        while True:
            numbers = self.reader.recv(64)
            if SIGTERM in numbers:
                self.link.shut()
            if SIGUSR2 in numbers:
                dump_stacks(2, all_threads=True)
            if self.wakeup >= 0:
                try:
                    write_fd(self.wakeup, bytes(n for n in numbers if n not in OWN))
                except OSError:
                    pass  # full, or closed: as the C handler

    def interrupt(self):
        """Wakes the main thread, also from a lock."""
        pthread_kill(self.main, SIGINT)

    def signal(self, signalnum, handler):
        """Stands in for signal.signal."""
        if signalnum not in OWN:
            return self.real[0](signalnum, handler)
        if get_ident() != self.main:
            raise ValueError("signal only works in main thread of the main interpreter")
        if not callable(handler) and handler not in (SIG_DFL, SIG_IGN):
            raise TypeError("signal handler must be signal.SIG_IGN, signal.SIG_DFL, or a callable object")
        old = self.asked[signalnum]
        if handler in (SIG_DFL, SIG_IGN):
            handler = Handlers(handler)
        self.asked[signalnum] = handler
        if signalnum not in self.told and signalnum != SIGINT and handler != old:
            self.told.add(signalnum)
            does = "ends when it has finished what it holds" if signalnum == SIGTERM else "writes its stacks to the log"
            note("the application's handler for %s is not used: at this signal the worker %s"
                % (Names(signalnum).name, does))
        return old

    def getsignal(self, signalnum):
        """Stands in for signal.getsignal."""
        return self.asked[signalnum] if signalnum in OWN else self.real[1](signalnum)

    def set_wakeup_fd(self, fd, *, warn_on_full_buffer=True):
        """Stands in for signal.set_wakeup_fd: watch passes on what is not ours."""
        set_wakeup_fd(fd, warn_on_full_buffer=warn_on_full_buffer)  # says what is wrong with it
        set_wakeup_fd(self.writer.fileno() if self.writer else -1, warn_on_full_buffer=False)
        old, self.wakeup = self.wakeup, fd
        return old

    def forked(self):
        """In a child of the application: a signal to it must not reach us, and has the
        effect for which the application asked."""
        signal.signal, signal.getsignal, signal.set_wakeup_fd = self.real
        set_wakeup_fd(self.wakeup)
        for number, handler in self.asked.items():
            signal.signal(number, handler)
        if self.reader:
            self.reader.close()
            self.writer.close()


class Worker:
    """Serves the connections that come by the link, one at a time per slot."""

    def __init__(self, link, signals, options):
        self.link = link
        self.signals = signals
        self.app = None
        self.mount = options.mount
        self.slots = options.threads
        self.options = options
        self.take_at = 0.0  # when the signals' handlers are installed again
        self.base = {
            "wsgi.version": (1, 0),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": self.slots > 1,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            "wsgi.input_terminated": True,
        }
        self.base.update(identity())

    def serve(self):
        """Returns after the end of file, when all is finished."""
        try:
            if self.slots > 1:
                return self.serve_slots()
            for ident, waited, fd in iter(self.link.receive, None):
                self.handle(ident, waited, fd)
        finally:
            self.link.forget()

    def take_signals(self):
        self.take_at = monotonic() + TAKE_SECONDS
        self.signals.take()

    def serve_slots(self):
        """The main thread receives, so that the link has one reader; the slots work."""
        todo, ended = SimpleQueue(), SimpleQueue()
        for n in range(self.slots):
            start_thread(self.slot, "slot-%d" % n, todo, ended)
        try:
            for conn in iter(self.link.receive, None):
                todo.put(conn)
                if monotonic() >= self.take_at:
                    self.take_signals()
        finally:
            if not self.link.child:
                for _ in range(self.slots):
                    todo.put(None)
                for _ in range(self.slots):
                    ended.get()

    def slot(self, todo, ended):
        try:
            for conn in iter(todo.get, None):
                self.handle(*conn)
        finally:
            ended.put(None)

    def handle(self, ident, waited, fd):
        """Serves one connection; it takes fd."""
        link = self.link
        conn = link.conns.get(fd)
        if conn is None:
            try:
                conn = link.connection(fd)
            except OSError as error:
                note("connection %d: %s" % (ident, error))
                link.page.waits(ident)
                link.send(b"DONE=%d" % ident)
                return
            fd = conn.fileno()
        link.held.add(fd)
        reply = Reply(conn, Input(conn, self.options), link.page, ident)
        failure = None
        try:
            self.answer(reply, waited)
        except BaseException as error:
            failure = error
        if link.child:
            end_child(named(reply), failure)
        if failure is not None:
            self.guard(ident, self.report, reply, failure)
            self.guard(ident, self.excuse, reply, failure)
            failure = None
        cut = reply.sent != reply.length and reply.broken()
        if self.slots == 1 and monotonic() >= self.take_at:
            self.take_signals()
        try:
            self.finish(reply, fd, cut)
        except BaseException as error:
            note("connection %d: %s at its end" % (ident, type(error).__name__))
        if link.page.waits(ident) or cut:
            done = b"DONE=%d\nCODE=%d\nBYTES=%d" % (ident, reply.code, reply.sent) if reply.code else b"DONE=%d" % ident
            link.send(done + b"\nCUT=1" if cut else done)

    def guard(self, ident, step, *args):
        """Takes a step that must not cost the worker or a thread, nor DONE, whatever
        the application has done to what the step needs (a module, a signal's handler)."""
        try:
            step(*args)
        except BaseException as error:
            note("connection %d: %s in %s" % (ident, type(error).__name__, step.__name__))

    def answer(self, reply, waited):
        input = reply.input
        parts = input.header()
        if parts is None:
            return
        env, length = parse(parts)
        if length or input.buf:
            input.begin_body(length)
        complete(env, self.mount)
        env.update(self.base)
        env["wsgi.input"] = input
        env["scgid.waited"] = waited
        # Now: the application may do with env what it likes.
        reply.method = env["REQUEST_METHOD"]
        reply.uri = env.get("REQUEST_URI") or env["SCRIPT_NAME"] + env["PATH_INFO"]
        if reply.run(self.app, env):
            return
        complaint = reply.complaint()
        if complaint and not self.link.child:
            note("%s: the application %s" % (named(reply), complaint))

    def report(self, reply, error):
        """Puts what failed into the log. A client that left is no error, and bad
        requests are counted by the master."""
        if reply.gone or isinstance(error, BadRequest):
            return
        if isinstance(error, (ShortBody, SlowBody)):
            note("%s: %s" % (named(reply), error))
            return
        cut = ", its reply is cut" if reply.broken() else ""
        note("%s: exception in the application%s\n%s" % (named(reply), cut, story(error)))

    def excuse(self, reply, error):
        """Answers for a request that failed, while nothing of a reply is sent."""
        if isinstance(error, BadRequest):
            reply.input.bare, reply.input.surplus = False, True  # whatever follows it
            reply.refuse(error.status, "Bad request: %s." % error)
        elif isinstance(error, (ShortBody, SlowBody)):
            reply.refuse(error.status, "The request ended early.")
        else:
            reply.refuse("500 Internal Server Error", "The application failed. Its log says why.")

    def finish(self, reply, fd, cut):
        """Ends a reply. The master holds the connection too, so only shutdown ends
        it; and a close on unread bytes would take back what the client has not read.
        A reply that is cut ends by a reset, which the master's close sends."""
        conn, input = reply.conn, reply.input
        try:
            self.link.held.discard(fd)
            if cut and conn.getsockopt(SOL_SOCKET, SO_DOMAIN) != AF_UNIX:
                conn.setsockopt(SOL_SOCKET, SO_LINGER, NO_LINGER)
                return
            unread = 0 if input.bare else input.unread()
            if unread and not reply.gone:
                conn.shutdown(SHUT_WR)
                drain(conn, min(unread, self.options.max_drain))
            reply.page.finish(reply.ident, reply.code, reply.sent, cut)
            conn.shutdown(SHUT_RDWR)
        except OSError:
            pass  # the client was quicker
        finally:
            close_fd(fd)
            if not input.bare:
                input.drop()


def identity():
    """What the application can know of the worker, by the variables that scgid set."""
    return {"scgid." + name: environ.get("SCGID_" + name.upper(), "") for name in ("worker", "generation", "pool")}


def named(reply):
    """Method and URI, safe to print, once they are known."""
    if reply.method is None:
        return "a connection"
    return "%s %s" % (ascii(reply.method[:32])[1:-1], ascii(reply.uri[:256])[1:-1])


def story(error):
    """The traceback of an exception, without the frames of ours that lead to the application."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals is GLOBALS:
        frames = frames.tb_next
    return "".join(format_exception(type(error), error, frames or error.__traceback__)).rstrip("\n")


GLOBALS = globals()


def start_thread(run, name, *args):
    """Starts a thread for requests. Where gevent or eventlet has taken threads over it
    is the system's all the same, and the threading module makes up an object for it."""
    if threading.get_ident is get_ident and Thread.start is start_method:
        Thread(target=run, name=name, args=args).start()
        return

    def named_run():
        try:
            threading.current_thread().name = name
        except Exception:
            pass
        run(*args)

    start_new_thread(named_run, ())


def end_child(request, failure):
    """Ends a process that the application forked and that came back here. Its parent
    answers. Exit functions are the parent's as well: they may remove what it needs."""
    code = 0
    if isinstance(failure, SystemExit):
        code = failure.code if isinstance(failure.code, int) else int(failure.code is not None)
        if not isinstance(failure.code, (int, type(None))):
            note(str(failure.code))
    elif failure is None or isinstance(failure, ClientGone):
        note("%s: a process that the application forked came back: it ends here, its parent replies" % request)
    else:
        code = 1
        note("%s: exception in a process that the application forked\n%s" % (request, story(failure)))
    flush_log()
    _exit(code & 0xFF)


def drain(conn, limit):
    """Reads away what the client still sends, within bytes and time."""
    poller = poll()
    poller.register(conn.fileno(), POLLIN)
    end = monotonic() + DRAIN_SECONDS
    while limit > 0:
        wait = end - monotonic()
        if wait <= 0 or not poller.poll(wait * 1000):
            return
        try:
            data = conn.recv(min(limit, BLOCK), MSG_DONTWAIT)
        except BlockingIOError:
            continue
        if not data:
            return
        limit -= len(data)


# --- the application -------------------------------------------------------


def load(name):
    """Returns the callable that MODULE:CALLABLE or path/to/file.wsgi names."""
    sys.path[:] = [getcwd()] + PATH
    where, what = split_name(name)
    path, call = parse_name(what)
    module = load_file(where) if is_file(where) else load_module(where)
    HOOKS.update((name, getattr(module, name)) for name in (BEFORE, AFTER) if callable(getattr(module, name, None)))
    try:
        app = find(module, path, call)
    except AttributeError as error:
        if what == "application" and callable(getattr(module, "app", None)):
            raise AttributeError("%s, but app: name it %s:app" % (error, where)) from None
        raise
    if not callable(app):
        raise TypeError("%s is %s, not callable" % (name, type(app).__name__))
    return app


BEFORE, AFTER = "scgi_before_fork", "scgi_after_fork"
HOOKS = {}  # of the application's module, by these names


def is_file(where):
    """Says whether a name is a file's. One that ends in .wsgi may be a module's as
    well, such as mysite.wsgi, which Django makes."""
    return "/" in where or where.endswith(".py") or where.endswith(".wsgi") and os.path.isfile(where)


_call = re.compile(r"(.+?):([\w.]+\(.*\))", re.DOTALL)


def split_name(name):
    call = _call.fullmatch(name)
    if call:
        return call.groups()  # slashes and colons in its arguments are not ours
    where, colon, what = name.partition(":")
    if is_file(name):
        where, colon, what = name.rpartition(":")
        if not colon or "/" in what:
            where, what = name, ""
    return where, what or "application"


def load_module(name):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not (name + ".").startswith("%s." % error.name):
            raise  # it is there, and lacks something itself
        text = "%s in %s or where Python looks" % (error, getcwd())
        if name.endswith(".wsgi"):
            text += ", and no file %s" % name
        raise ModuleNotFoundError(text, name=error.name) from None


def load_file(path):
    path = os.path.abspath(path)
    sys.path.insert(1, os.path.dirname(path))
    stem = os.path.splitext(os.path.basename(path))[0]
    name = re.sub(r"\W", "_", stem)
    if not path.endswith(".py"):
        name = "_wsgi_" + name  # wiki.wsgi is no module, and beside it may be the package wiki
    loader = importlib.machinery.SourceFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(loader.name, path, loader=loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


def parse_name(text):
    """Returns the names of a dotted name, and the ast.Call that it may be part of."""
    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError:
        raise ValueError("%r is not a name or a call" % text) from None
    call = None
    if isinstance(node, ast.Call):
        call, node = node, node.func
    names = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise ValueError("%r is not a name or a call" % text)
    return [node.id] + names, call


def find(found, names, call):
    """Follows the names; calls a factory with literal arguments."""
    for name in names:
        found = getattr(found, name)
    if call is None:
        return found
    args = [literal_eval(arg) for arg in call.args]
    return found(*args, **{word.arg: literal_eval(word.value) for word in call.keywords})


# --- the command -----------------------------------------------------------


def options_of(argv):
    parser = argparse.ArgumentParser(
        prog="scgi-wsgi",
        description="Serve a WSGI application as a worker of scgid.",
        epilog="Try it out with: scgid run --http 127.0.0.1:8080 -- scgi-wsgi MODULE:CALLABLE",
    )
    add = parser.add_argument
    add("application", metavar="MODULE:CALLABLE | FILE.wsgi", help="callable defaults to application")
    add("--threads", type=between(1, 1024), default=1, metavar="N", help="connections at a time (slots); default 1")
    add("--mount", type=prefix, metavar="/PREFIX",
        help="path below which the application lives; / for lighttpd without fix-root-scriptname")
    add("--max-drain", type=between(0, 1 << 40), default=MAX_DRAIN, metavar="BYTES",
        help="bytes of a body left unread that are received before a reply, and read away after it; default 16 MiB")
    add("--read-timeout", type=span, default=READ_SECONDS, metavar="SECONDS",
        help="how long a client may send nothing while its body is awaited; default 60")
    add("--validate", action="store_true", help="check the application and this server by wsgiref.validate")
    add("--version", action="version", version="scgi_wsgi " + VERSION)
    return parser.parse_args(argv)


def between(low, high):
    def number(text):
        value = int(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return number


def span(text):
    value = float(text)
    if not 0.001 <= value <= 86400:
        raise ValueError(text)
    return value


def prefix(text):
    text = text.rstrip("/")
    if text and not text.startswith("/"):
        raise ValueError(text)
    return text


def take_link():
    """Takes the link that scgid left us, away from children and the application."""
    text = environ.pop("SCGID_WORKER_FD", None)
    if text is None:
        sys.exit(
            "scgi_wsgi: SCGID_WORKER_FD is not set: this program is a worker that scgid starts\n"
            "scgi_wsgi: hint: scgid run --http 127.0.0.1:8080 -- scgi-wsgi MODULE:CALLABLE"
        )
    try:
        fd = int(text)
        set_inheritable(fd, False)
        sock = Socket(fileno=fd)
    except (OSError, ValueError, OverflowError) as error:
        sys.exit("scgi_wsgi: SCGID_WORKER_FD=%s is not a worker link: %s" % (text, error))
    if sock.family != AF_UNIX or sock.type != SOCK_SEQPACKET:
        sys.exit("scgi_wsgi: SCGID_WORKER_FD=%s is not a Unix socket of type SOCK_SEQPACKET" % text)
    sock = Socket(fileno=raise_fd(sock.detach(), HIGH_FD))
    sock.setblocking(True)
    return Link(sock, take_page())


def take_page():
    """Takes the page that scgid left beside the link, if it is of the version we know."""
    text = environ.pop("SCGID_PAGE_FD", None)
    if text is None:
        return Page()
    try:
        fd = int(text)
        page = open_page(fd)
        close_fd(fd)
    except (OSError, ValueError, OverflowError) as error:
        sys.exit("scgi_wsgi: SCGID_PAGE_FD=%s is not a page: %s" % (text, error))
    return page


def open_page(fd):
    memory = mmap(fd, 4096)
    return Page(memoryview(memory).cast("Q") if memory[:8] == b"SCGIDPG1" else None)


def one_line(text, limit=400):
    return "".join(c if c.isprintable() else " " for c in text[:limit])


def fail(link, what, error):
    """Reports what cannot be done to start, and exits: not by sys.exit, which waits
    for threads that half an import may have started."""
    why = type(error).__name__
    try:
        why = "%s: %s" % (why, error)
    except BaseException:
        pass  # an exception whose text fails too
    try:
        text = story(error)
    except BaseException:
        text = why
    note("cannot %s\n%s" % (what, text))
    link.send(("FAILED=" + one_line("cannot %s: %s" % (what, why))).encode("utf-8", "backslashreplace"))
    flush_log()
    _exit(1)


def own_streams():
    """Puts streams of ours in the place of Python's, line by line: what a worker prints
    that is killed is in the log, and no print fails."""
    global LOG
    fill_low_fds()
    sys.__stdout__ = sys.stdout = log_stream(1, sys.stdout)
    sys.__stderr__ = sys.stderr = LOG = log_stream(2, sys.stderr)


LOG = None


def hide(name):
    """Leaves the application nothing of this program to see: its name alone as the
    command line, and an empty __main__, as under mod_wsgi."""
    sys.argv[:] = [name]
    main = type(sys)("__main__")
    main.__builtins__ = builtins
    sys.modules["__main__"] = main


def load_all(options, link, signals):
    """Returns the worker, with its application; does not return without one."""
    worker = Worker(link, signals, options)
    if options.validate:
        from wsgiref.validate import validator
    try:
        worker.app = load(options.application)
        if options.validate:
            worker.app = validator(worker.app)
    except BaseException as error:
        if link.child:
            end_child("cannot load " + options.application, error)
        fail(link, "load " + options.application, error)
    if link.child:
        end_child("loading " + options.application, None)
    try:
        link.check()
    except OSError as error:
        note("%s has closed the worker's link to scgid (%s): it must not close descriptors that it has not opened"
            % (options.application, error))
        flush_log()
        _exit(1)
    return worker


def main(argv=None):
    options = options_of(argv)
    link = take_link()
    own_streams()
    level = PRELOAD
    if level == "worker":
        link = Maker(link, level).serve()
    signals = Signals()
    forks = Forks(link, signals)
    if level != "application":
        signals.begin(link)
    dump_when_it_crashes(2)
    hide(options.application)
    known = open_fds() if level == "application" else None
    worker = load_all(options, link, signals)
    if level == "application":
        refuse(link, known)
        link = Maker(link, level, forks).serve()
        become(worker, link, signals)
    signals.take()
    fill_low_fds()
    if level != "application":  # where the maker has done this
        collect()
        freeze()  # what the import left stays: no collection needs to look at it again
    if worker.slots > PAGE_SLOTS:
        link.page.forked()
    page = b"" if link.page.words is None else b"\nPAGE=1"
    link.send(b"READY=1\nSLOTS=%d\nDUMPSIGNAL=USR2" % worker.slots + page)
    status = 0
    try:
        worker.serve()
    except BaseException as error:
        if link.child:  # forked by a handler of another signal
            end_child("between requests", error)
        if not isinstance(error, Violation):
            raise
        note("%s, leaving" % error)
        status = 1
    end(signals, status)
    return status


class Forks:
    """What a process that the application forks does first. A worker that a preloaded
    process makes is not such a process."""

    def __init__(self, link, signals):
        self.link = link
        self.signals = signals
        self.ours = False
        register_at_fork(after_in_child=self.forked)

    def forked(self):
        if not self.ours:
            self.signals.forked()
            self.link.forked()


class Maker:
    """A preloaded process: it makes workers by fork, and serves nothing; see scgid-worker(7).

    A worker is a grandchild, whose parent ends at once: so it becomes the master's
    child, as if the master had started it.
    """

    def __init__(self, link, level, forks=None):
        self.link = link
        link.page.forked()  # serves nothing
        self.level = level
        self.forks = forks

    def serve(self):
        """Returns in each of the workers: their end of their link."""
        collect()
        freeze()  # what is there is shared, as long as no collection writes to it
        self.link.send(b"READY=1\nPRELOAD=" + self.level.encode())
        while True:
            text, fds = self.receive()
            link = None
            if text.startswith(b"WORKER=") and 1 <= len(fds) <= 4:
                link = self.make(text, fds)
            elif text.startswith(b"OUTPUT=") and len(fds) == 2:
                put_output(fds)
            if link is not None:
                return link
            for fd in fds:
                close_fd(fd)

    def receive(self):
        """Returns a message and its descriptors; does not return at the end of file."""
        while True:
            try:
                text, control, _, _ = self.link.sock.recvmsg(2048, CONTROL_ROOM, MSG_CMSG_CLOEXEC)
            except ConnectionResetError:
                continue
            if not text:
                flush_log()
                _exit(0)  # exit functions are the workers'
            return text, descriptors(control)

    def make(self, text, fds):
        """Makes a worker. Returns its link in the worker, and None here."""
        flush_log()  # else each worker had what is in the buffers
        if self.forks:
            self.forks.ours = True
        try:
            pid = fork()
        except OSError as error:
            self.failed(text, error.errno)
            return None
        if pid:
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if status:
                self.failed(text, status)
            if self.forks:
                self.forks.ours = False
            return None
        parent = getpid()
        try:
            pid = fork()
        except OSError as error:
            _exit(error.errno)
        if pid:
            _exit(0)
        try:
            while getppid() == parent:
                sleep(0.0001)
            link = self.begin(text, fds)
        except BaseException as error:
            note("a worker cannot begin: %s: %s" % (type(error).__name__, error))
            flush_log()
            _exit(1)
        return link

    def failed(self, text, error):
        why = os.strerror(error) if error > 0 else "signal %d" % -error
        self.link.send(text.partition(b"\n")[0] + b"\nFAILED=cannot fork: " + why.encode())

    def begin(self, text, fds):
        """In the worker: puts everything where it would be had the worker been executed."""
        self.link.sock.close()
        if len(fds) > 2:
            put_output(fds[-2:])
            environ.pop("JOURNAL_STREAM", None)  # comes again, if there is one
            for fd in fds[-2:]:
                close_fd(fd)
        sock = Socket(fileno=raise_fd(fds[0], HIGH_FD))
        page = Page()
        if len(fds) % 2 == 0:
            page = open_page(fds[1])  # takes the lowest number, as in take_page
            close_fd(fds[1])
        link = Link(sock, page)
        link.sock.setblocking(True)
        for line in text.split(b"\n"):
            if line.startswith(b"VAR="):
                name, _, value = fsdecode(line[4:]).partition("=")
                environ[name] = value
        main = threading.main_thread()
        if hasattr(main, "_set_native_id"):
            main._set_native_id()  # Python leaves that of the parent
        if self.forks:
            self.forks.link = link
            self.forks.ours = False
        link.send(b"STARTED=1")  # with it the master gets our pid
        if link.sock.recv(64) != b"GO=1":
            _exit(0)  # the master has another worker by now, or is gone
        return link


def put_output(fds):
    flush_log()
    copy_fd(fds[0], 1)
    copy_fd(fds[1], 2)


def become(worker, link, signals):
    """In a worker that was made with its application."""
    worker.link = link
    worker.base.update(identity())
    signals.begin(link)
    if AFTER in HOOKS:
        try:
            HOOKS[AFTER]()
        except BaseException as error:
            fail(link, "call " + AFTER, error)


def refuse(link, known):
    """Ends a process from which no worker can be made, as a fork would break what the
    application has begun. known are the descriptors that are not the application's."""
    try:
        if BEFORE in HOOKS:
            HOOKS[BEFORE]()
        found = threads() + children() + unsafe_fds(known)
    except BaseException as error:
        found = ["%s: %s" % (type(error).__name__, error)]
    if not found:
        return
    link.send(("REFUSED=" + one_line("it has, after its import, " + ", ".join(found), 1500)).encode("utf-8", "backslashreplace"))
    flush_log()
    _exit(0)


def threads():
    """Names the threads of this process but for its first. One that was joined may be
    there for another moment."""
    for _ in range(50):
        found = threads_now()
        if not found:
            break
        sleep(0.002)
    return found


def threads_now():
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    found = []
    for task in listdir("/proc/self/task"):
        if int(task) != getpid():
            name = names.get(int(task))
            if name is None:
                try:
                    with open("/proc/self/task/%s/comm" % task) as comm:
                        name = "of a library, %s" % comm.read().strip()
                except OSError:
                    continue  # it has just ended
            found.append("thread %r" % name)
    return sorted(found)


def children():
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []
    return ["a child process"]


def open_fds():
    """The numbers of the descriptors that are open."""
    found = set()
    for name in listdir("/proc/self/fd"):
        try:
            fstat(int(name))
        except OSError:
            continue  # that of the directory itself
        found.add(int(name))
    return found


def unsafe_fds(known):
    """Names the descriptors that workers must not share: all but files that are only
    read, or appended to."""
    found = []
    for fd in sorted(open_fds() - known):
        state, what = fstat(fd), readlink("/proc/self/fd/%d" % fd)
        if S_ISREG(state.st_mode):
            flags = fcntl(fd, F_GETFL)
            safe = flags & O_ACCMODE == O_RDONLY or flags & O_APPEND
        else:
            safe = S_ISDIR(state.st_mode) or S_ISCHR(state.st_mode) and major(state.st_rdev) == 1  # /dev/null and the like
        if not safe:
            found.append("descriptor %d (%s)" % (fd, what))
    return found


def end(signals, status):
    """Ends the application as the interpreter would: its threads, then its exit
    functions. But threads get THREAD_SECONDS, and a SIGTERM, which the master sends
    to a worker that is late, ends the wait for either."""
    # The wake-up must be a signal that a lock does not sleep through.
    signals.take()
    siginterrupt(SIGINT, True)
    pthread_sigmask(SIG_UNBLOCK, OWN)
    timer = Timer(signals) if lingering() else None
    bounded(signals, threading._shutdown)
    if timer is not None:
        timer.stop()
    left = lingering()
    if left:
        note("ending without waiting any longer for threads of the application: %s" % ", ".join(left))
    bounded(signals, run_exit_functions)
    # The interpreter's end puts the defaults back, and a second SIGTERM would kill.
    set_handler(SIGTERM, SIG_IGN)
    set_handler(SIGINT, SIG_IGN)
    set_handler(SIGUSR2, SIG_IGN)
    if left:
        flush_log()
        _exit(status)  # the interpreter's end could meet them


def bounded(signals, step):
    """Takes a step that Late may end."""
    try:
        try:
            signals.armed = True
            step()
        finally:
            signals.armed = False
    except BaseException as error:
        if not isinstance(error, Late):
            note("%s at the end\n%s" % (type(error).__name__, story(error)))


class Timer:
    """Has a step end by Late after THREAD_SECONDS."""

    def __init__(self, signals):
        self.signals = signals
        self.over, self.ended = allocate_lock(), allocate_lock()
        self.over.acquire()
        self.ended.acquire()
        start_new_thread(self.run, ())

    def run(self):
        if not self.over.acquire(timeout=THREAD_SECONDS):
            while not self.over.acquire(timeout=0.1):
                self.signals.armed = True  # the last one may have met code that catches everything
                self.signals.interrupt()
        self.ended.release()

    def stop(self):
        self.over.release()
        self.ended.acquire()  # a thread that begins while the interpreter ends would crash it


def lingering():
    """Names the application's threads for which an end would wait."""
    ours = threading.main_thread(), threading.current_thread()
    return [ascii(str(thread.name))[1:-1] for thread in threading.enumerate()
        if thread not in ours and thread.is_alive() and not thread.daemon]


if SCRIPT:
    sys.exit(main())
