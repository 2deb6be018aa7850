#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""scgi_wsgi serves a WSGI application as a worker of scgid.

scgid starts it, with one end of the worker link (protocol 1, see
scgid-worker(7)) in SCGID_WORKER_FD, and passes it one accepted SCGI connection
after another. It accepts nothing itself, speaks no HTTP and starts no other
process: how many workers there are is scgid's business.

One file, standard library only, Python 3.9 and newer. The names below are not
an interface; the command line, the link and PEP 3333 are.
"""

import ast
import errno
import faulthandler
import gc
import importlib
import importlib.machinery
import importlib.util
import io
import os
import re
import select
import signal
import socket
import stat
import struct
import sys
import threading
import time
import traceback

VERSION = "0.1.0"

MAX_HEADER = 1 << 20  # bytes of a header block; scgid's own limit is lower
MAX_DRAIN = 16 << 20  # bytes of an unread body that are read away at the end
DRAIN_SECONDS = 2.0
GAP_SECONDS = 0.2  # without a byte, until the rest of a body is not awaited before a reply
READ_SECONDS = 60.0  # without a byte, until a body read is given up
FIRST_READ = 16384
BLOCK = 1 << 18
JOIN = 1 << 16  # a first chunk up to this size is copied behind the headers
MEMORY_SPOOL = 1 << 20

CONTROL_ROOM = socket.CMSG_SPACE(4 * 4)  # room for 4 descriptors; the kernel closes more

# socket.socket is a class in Python around this one, and costs a microsecond more.
Conn = socket.SocketType


def note(text):
    """Writes one message to the log; in one piece, so that threads do not mix."""
    try:
        sys.stderr.write("scgi_wsgi: " + text + "\n")
    except Exception:
        pass  # nobody reads the log, or it is the application's: no reason to fail a request


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

    __slots__ = ("conn", "patience", "ahead", "buf", "pos", "left", "body", "ended", "surplus", "spool", "spooled", "lost")

    def __init__(self, conn, patience, ahead):
        self.conn = conn
        self.ahead = ahead  # bytes that gather receives at most
        self.patience = patience  # seconds; None once the socket has been told
        self.buf = b""  # received and not yet read: buf[pos:]
        self.pos = 0
        self.left = 0  # bytes of the body still to be received
        self.body = False  # there is one
        self.ended = False  # the client has closed its side
        self.surplus = False  # bytes followed the body
        self.spool = None  # body received while a reply was being sent
        self.spooled = 0  # bytes of the spool not yet read
        self.lost = None  # why a part of the body is gone; only who reads on minds

    def receive(self, size):
        """Blocks for 1 to size bytes; b"" at the end. SlowBody after patience."""
        if self.patience is not None:
            # A request that came whole never gets here and saves the call.
            set_read_timeout(self.conn, self.patience)
            self.patience = None
        try:
            data = self.conn.recv(size)
        except BlockingIOError:
            raise SlowBody(errno.ETIMEDOUT, "the client stopped sending") from None
        except ConnectionError:
            data = b""
        if not data:
            self.ended = True
        return data

    def header(self):
        """Returns the header block without its netstring; None from a client
        that closed without a byte. What follows becomes the body's beginning."""
        try:
            data = self.conn.recv(FIRST_READ, socket.MSG_DONTWAIT)
            self.ended = not data
        except BlockingIOError:
            data = self.receive(FIRST_READ)
        except ConnectionError:
            data = b""
        if not data:
            return None
        colon = data.find(b":", 0, 11)
        while colon < 0 and len(data) < 11 and (not data or data.isdigit()):
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
        self.buf = data
        self.pos = end + 1
        return data[begin:end]

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
        have = len(self.buf) - self.pos
        if have > length:
            self.surplus = True
            self.buf = self.buf[: self.pos + length]
            have = length
        self.left = length - have
        self.body = length > 0

    def unread(self):
        """How many bytes may be on their way that nobody has received. Some web
        servers send more of a body than they said."""
        if self.ended:
            return 0
        if self.surplus or self.body and not self.left and self.knocks():
            return sys.maxsize
        return self.left

    def knocks(self):
        """Says whether there is anything to be received."""
        try:
            return bool(self.conn.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def fill(self, size):
        """Puts at least a byte into an empty buffer; False at the end."""
        if self.lost:
            # Not an OSError: that would pass for the client's.
            raise RuntimeError("cannot keep the request's body: %s" % self.lost) from self.lost
        if self.spooled:
            self.spool.seek(-self.spooled, io.SEEK_END)
            data = self.spool.read(min(self.spooled, max(size, 65536)))
            self.spooled -= len(data)
        elif self.left:
            data = b"" if self.ended else self.receive(min(self.left, min(max(size, 65536), BLOCK)))
            if not data:
                raise ShortBody(errno.ECONNRESET, "the client closed %d bytes early" % self.left)
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
            data = self.conn.recv(min(self.left, BLOCK), socket.MSG_DONTWAIT)
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
                import tempfile

                self.spool = tempfile.SpooledTemporaryFile(MEMORY_SPOOL)
            if self.spooled:
                self.spool.seek(0, io.SEEK_END)
            else:
                self.spool.seek(0)
                self.spool.truncate()
            self.spool.write(data)
            self.spool.flush()  # or its failure would come out of a read
        except OSError as error:
            self.lost = error
            self.drop()
            return
        self.spooled += len(data)

    def drop(self):
        """Gives back what the spool holds."""
        spool, self.spool, self.spooled = self.spool, None, 0
        try:
            if spool is not None:
                spool.close()
        except OSError:
            pass  # the bytes that failed, once more

    def gather(self):
        """Receives the rest of the body before a reply begins, while it flows and
        within bounds: nginx stops sending a body at the reply's first byte, and
        an application that reads on would wait for it in vain."""
        poller = select.poll()
        poller.register(self.conn.fileno(), select.POLLIN)
        end = time.monotonic() + DRAIN_SECONDS
        limit = self.left - self.ahead
        while self.left > max(limit, 0) and not self.ended:
            wait = min(end - time.monotonic(), GAP_SECONDS)
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
                view = view[self.conn.send(view, socket.MSG_DONTWAIT) :]
                continue
            except BlockingIOError:
                pass
            if not self.left or self.ended:
                self.conn.sendall(view)
                return
            if poller is None:
                poller = select.poll()
                poller.register(self.conn.fileno(), select.POLLIN | select.POLLOUT)
            if poller.poll()[0][1] & select.POLLIN:
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


def set_read_timeout(conn, seconds):
    whole = int(seconds)
    conn.setsockopt(
        socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", whole, int((seconds - whole) * 1e6))
    )


def parse(block):
    """Returns the variables of a header block and its CONTENT_LENGTH.

    Strict as the specification; lenient where front ends are known to differ:
    SCGI may be absent (nginx without scgi_params) and names may come twice.
    """
    if not block or block[-1]:
        raise BadRequest("400 Bad Request", "the header block does not end with NUL")
    parts = block.decode("latin-1").split("\0")
    parts.pop()
    if len(parts) & 1:
        raise BadRequest("400 Bad Request", "a variable without value")
    if parts[0] != "CONTENT_LENGTH":
        raise BadRequest("400 Bad Request", "CONTENT_LENGTH is not first")
    length = parts[1]
    if not (length.isascii() and length.isdigit()) or len(length) > 19 or int(length) >= 1 << 63:
        raise BadRequest("400 Bad Request", "CONTENT_LENGTH is not a number")
    names = parts[::2]
    variables = dict(zip(names, parts[1::2]))
    if len(variables) != len(names):
        variables = merge(names, parts[1::2])
    if "" in variables:
        raise BadRequest("400 Bad Request", "a variable without name")
    if variables.get("SCGI", "1") != "1":
        raise BadRequest("400 Bad Request", "not SCGI version 1")
    return variables, int(length)


def merge(names, values):
    """Joins headers that came twice, as RFC 9110 section 5.3 does; of other
    variables (a parameter set twice in a front end's file) the last counts."""
    variables = {}
    for name, value in zip(names, values):
        old = variables.get(name, value)
        if name in ("CONTENT_LENGTH", "SCGI") and old != value:
            raise BadRequest("400 Bad Request", name + " came twice")
        if name.startswith("HTTP_") and name in variables:
            value = old + ("; " if name == "HTTP_COOKIE" else ", ") + value
        variables[name] = value
    return variables


_hex = re.compile("%([0-9A-Fa-f]{2})")
_absolute = re.compile("[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


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
            # nginx, where somebody set SCRIPT_NAME to the mount and no more.
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
    script = (script or "").rstrip("/")
    if script and not script.startswith("/"):
        script = "/" + script
    if info and not info.startswith("/"):
        info = "" if info == "*" else "/" + info
    if mount is not None:
        whole = script + info
        if below(whole, mount):
            script, info = mount, whole[len(mount) :]
    if not script and not info and env.get("REQUEST_URI") != "*":
        info = "/"
    env["SCRIPT_NAME"] = script
    env["PATH_INFO"] = info


# HTTP_PROXY would steer outgoing requests of libraries (httpoxy). Length and type
# have keys of their own. The front end has undone any transfer coding already.
DROPPED = ("HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING")


def complete(env, mount):
    """Makes a WSGI environ of SCGI variables; in place."""
    for name in DROPPED:
        env.pop(name, None)
    https = env.get("HTTPS", "").lower() or env.get("REQUEST_SCHEME", "").lower()
    env["wsgi.url_scheme"] = "https" if https in ("on", "1", "https") else "http"
    place(env, mount)
    if "QUERY_STRING" not in env:
        env["QUERY_STRING"] = env.get("REQUEST_URI", "").partition("#")[0].partition("?")[2]
    if not env.get("REQUEST_METHOD"):
        env["REQUEST_METHOD"] = "GET"
    if not env.get("SERVER_NAME"):
        env["SERVER_NAME"] = re.sub(":[0-9]*$", "", env.get("HTTP_HOST", "")) or "localhost"
    if not env.get("SERVER_PORT"):
        env["SERVER_PORT"] = "443" if env["wsgi.url_scheme"] == "https" else "80"
    if not env.get("SERVER_PROTOCOL"):
        env["SERVER_PROTOCOL"] = "HTTP/1.0"


# --- the reply -------------------------------------------------------------

PLAIN, LENGTH, STRIPPED = 1, 2, 3

# Hop-by-hop headers are the front end's; so is the Status line's place.
KINDS = {"Content-Type": PLAIN, "Content-Length": LENGTH}
_kinds = {
    "content-length": LENGTH,
    "connection": STRIPPED,
    "keep-alive": STRIPPED,
    "proxy-connection": STRIPPED,
    "status": STRIPPED,
    "te": STRIPPED,
    "trailer": STRIPPED,
    "transfer-encoding": STRIPPED,
}
STATUSES = {}
MEMO = 512  # an application that makes up names must not fill our memory

_token = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_status = re.compile("([2-9][0-9][0-9])(?: [^\0-\x1f\x7f]*)?")


def kind_of(name):
    """Checks a header's name once and remembers what to do with it."""
    if not isinstance(name, str) or not _token.fullmatch(name):
        raise ValueError("%r is not a header name" % (name,))
    kind = _kinds.get(name.lower(), PLAIN)
    if len(KINDS) < MEMO:
        KINDS[name] = kind
    return kind


def status_line(status):
    """Returns the code and the Status: line; remembers both."""
    found = _status.fullmatch(status) if isinstance(status, str) else None
    if not found:
        raise ValueError('%r is not a status such as "200 OK"' % (status,))
    code = int(found.group(1))
    text = status.rstrip()
    if len(text) == 3:
        text += " " + reason(code)
    answer = code, "Status: " + text + "\r\n"
    if len(STATUSES) < MEMO:
        STATUSES[status] = answer
    return answer


def reason(code):
    from http import HTTPStatus

    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "Unknown"


def compose(status, headers):
    """Returns (code, stated length or None, header bytes without the empty line)."""
    code, text = STATUSES.get(status) or status_line(status)
    length = None
    lines = 1
    for name, value in headers:
        kind = KINDS.get(name) or kind_of(name)
        if kind is PLAIN:
            text += name + ": " + value + "\r\n"
            lines += 1
        elif kind is LENGTH:
            if not (value.isascii() and value.isdigit()) or length not in (None, int(value)):
                raise ValueError("Content-Length %r is not usable" % value)
            length = int(value)
    # One look at the whole instead of one at each value.
    if text.count("\n") != lines or text.count("\r") != lines or "\0" in text:
        raise ValueError("a header's value contains CR, LF or NUL")
    return code, length, text.encode("latin-1")


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
    if kind is io.BufferedReader or kind is io.BufferedRandom:
        if type(filelike.raw) is not io.FileIO:
            return None
    elif kind is not io.FileIO:
        return None
    if kind is io.BufferedRandom:
        filelike.flush()
    fd = filelike.fileno()
    about = os.fstat(fd)
    if not stat.S_ISREG(about.st_mode) or not about.st_size:  # files of /proc state 0
        return None
    return fd, filelike.tell(), about.st_size


class Reply:
    """What goes back on one connection, by the rules of PEP 3333."""

    __slots__ = ("conn", "input", "request", "code", "length", "head", "begun", "bodiless", "sent", "cut", "gone")

    def __init__(self, conn, input):
        self.conn = conn
        self.input = input
        self.request = None  # method and URI for the log, set when the request was understood
        self.code = 0
        self.length = None  # of the body, as stated to the client
        self.head = None  # header bytes, from start_response on
        self.begun = False  # the headers are on their way
        self.bodiless = False  # HEAD, 204, 304
        self.sent = 0  # bytes of the body
        self.cut = False  # the application gave more than it stated
        self.gone = False

    def start_response(self, status, headers, exc_info=None):
        if exc_info:
            try:
                if self.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no circle through this frame
        elif self.head is not None:
            raise RuntimeError("start_response was called twice without exc_info")
        self.code, self.length, self.head = compose(status, headers)
        return self.write

    def write(self, data):
        if data:
            self.put(data, None)

    def header(self, known):
        """Returns the header bytes; known is the body's length if it is certain."""
        if self.head is None:
            raise RuntimeError("the application did not call start_response")
        if self.input.left and not self.input.ended:
            self.input.gather()
        if self.code == 204 or self.code == 304:
            self.bodiless = True
        elif self.length is None and known is not None and (known or not self.bodiless):
            self.length = known
        self.begun = True
        if self.length is None or self.code == 204:
            return self.head + b"\r\n"
        return self.head + b"Content-Length: %d\r\n\r\n" % self.length

    def put(self, data, known):
        """Sends a chunk at once, the first one together with the headers."""
        if not isinstance(data, bytes):
            if not isinstance(data, (bytearray, memoryview)):
                raise TypeError("the application gave %s, not bytes" % type(data).__name__)
            data = bytes(data)
        head = b"" if self.begun else self.header(known)
        if self.bodiless:
            data = b""
        elif self.length is not None and len(data) > self.length - self.sent:
            data = data[: self.length - self.sent]
            self.cut = True
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
        """Calls the application and sends what it gives."""
        result = app(env, self.start_response)
        try:
            if type(result) is not FileWrapper or not self.send_file(result.filelike):
                self.send_all(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def send_all(self, result):
        single = hasattr(result, "__len__") and len(result) == 1
        for chunk in result:
            if chunk:
                self.put(chunk, len(chunk) if single else None)
                if self.cut or self.bodiless:
                    break  # the reply is complete: an endless one would hold the worker for nobody
        if not self.begun:
            self.put(b"", 0)

    def send_file(self, filelike):
        """Sends by sendfile; False if filelike must be read instead."""
        if self.begun:
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
        self.send(head, socket.MSG_MORE if rest else 0)
        if rest and self.input.left and not self.input.ended:
            return self.send_read(fd, offset, rest)
        while rest:
            done = self.send_part(fd, offset, rest)
            if not done:
                break  # somebody truncated the file
            offset += done
            rest -= done
            self.sent += done
        return True

    def send_read(self, fd, offset, rest):
        """Where the body still arrives, which sendfile cannot look after."""
        while rest:
            data = os.pread(fd, min(rest, BLOCK), offset)
            if not data:
                break
            self.send(data)
            offset += len(data)
            rest -= len(data)
            self.sent += len(data)
        return True

    def send_part(self, fd, offset, count):
        try:
            return os.sendfile(self.conn.fileno(), fd, offset, min(count, 1 << 30))
        except OSError as error:
            if error.errno == errno.EIO:
                raise  # the disk's fault, not the client's
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                self.leave(error)
        data = os.pread(fd, min(count, BLOCK), offset)  # a file system without sendfile
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
        except ClientGone:
            pass

    def complaint(self):
        """What the application did wrong with its Content-Length, or None."""
        if self.cut:
            return "gave more than its Content-Length of %d bytes, the rest was cut" % self.length
        if self.begun and not self.bodiless and self.length is not None and self.sent < self.length:
            return "gave %d of the %d bytes that its Content-Length states" % (self.sent, self.length)
        return None


# --- the worker ------------------------------------------------------------


class Violation(Exception):
    """The master sent what the protocol does not allow."""


def descriptors(control):
    """Returns every descriptor that arrived; now they are ours to close."""
    found = []
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.extend(struct.unpack("@%di" % (len(data) // 4), data[: len(data) // 4 * 4]))
    return found


class Link:
    """The worker's end of the link: protocol 1, SOCK_SEQPACKET."""

    def __init__(self, sock):
        self.sock = sock

    def receive(self):
        """Blocks for the next connection: (id, seconds waited, descriptor).

        None at the end of file. The descriptor is the caller's.
        """
        while True:
            try:
                text, control, flags, _ = self.sock.recvmsg(512, CONTROL_ROOM, socket.MSG_CMSG_CLOEXEC)
            except ConnectionResetError:
                continue  # the master died with packets of ours unread; ours are still queued
            fds = descriptors(control)
            if text.startswith(b"CONN=") and len(fds) == 1:
                try:
                    return parse_conn(text) + (fds[0],)
                except ValueError:
                    pass
            for fd in fds:
                os.close(fd)
            if not text:
                return None
            if text.startswith(b"CONN="):
                # Without a word of DONE: the master gives the connection to another.
                reason = " (is LimitNOFILE reached?)" if flags & socket.MSG_CTRUNC else ""
                raise Violation("%r came with %d descriptors%s" % (text, len(fds), reason))

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
            self.sock.shutdown(socket.SHUT_RD)
        except OSError:
            pass


def parse_conn(text):
    first, _, rest = text.partition(b"\n")
    waited = 0
    for line in rest.split(b"\n"):
        if line.startswith(b"WAITED="):
            waited = int(line[7:])
    return int(first[5:]), waited / 1e6


class Signals:
    """SIGTERM shuts the link for reading, at once and always.

    A handler in Python alone is not enough: it runs between two instructions of
    the main thread. One that became due just before recvmsg went to sleep, or
    whose signal another thread received, would wait for the next packet, which
    may never come. So the C handler's wake-up byte goes to a thread of its own.
    """

    def __init__(self, link):
        self.link = link
        self.reader, self.writer = socket.socketpair()
        self.writer.setblocking(False)
        self.take()
        # Ctrl-C is the master's business. Not SIG_IGN, which children would inherit.
        signal.signal(signal.SIGINT, lambda number, frame: None)
        signal.siginterrupt(signal.SIGINT, False)  # the application's libraries need not notice
        signal.set_wakeup_fd(self.writer.fileno(), warn_on_full_buffer=False)
        old = threading.stack_size(256 << 10)
        threading.Thread(target=self.watch, name="scgid-signals", daemon=True).start()
        threading.stack_size(old)

    def take(self):
        """Installs the handler, again after an import that may have replaced it."""
        signal.signal(signal.SIGTERM, self.terminate)

    def terminate(self, number, frame):
        self.link.shut()

    def watch(self):
        while True:
            if signal.SIGTERM in self.reader.recv(64):
                self.link.shut()

    def forked(self):
        """In a child of the application: a signal to it must not reach us."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for sock in (self.reader, self.writer, self.link.sock):
            sock.close()


class Worker:
    """Serves the connections that come by the link, one at a time per slot."""

    def __init__(self, link, app, options):
        self.link = link
        self.app = app
        self.mount = options.mount
        self.slots = options.threads
        self.max_drain = options.max_drain
        self.patience = options.read_timeout
        self.child = False  # true in a process that the application forked
        self.base = {
            "wsgi.version": (1, 0),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": self.slots > 1,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            "wsgi.input_terminated": True,
            "scgid.worker": os.environ.get("SCGID_WORKER", ""),
            "scgid.generation": os.environ.get("SCGID_GENERATION", ""),
            "scgid.pool": os.environ.get("SCGID_POOL", ""),
        }

    def forked(self):
        self.child = True

    def serve(self):
        """Returns after the end of file, when all is finished."""
        if self.slots > 1:
            return self.serve_slots()
        while True:
            conn = self.link.receive()
            if conn is None:
                return
            self.handle(*conn)

    def serve_slots(self):
        """The main thread receives, so that the link has one reader; the slots work."""
        import queue

        todo = queue.SimpleQueue()
        slots = [threading.Thread(target=self.slot, args=(todo,), name="slot-%d" % n) for n in range(self.slots)]
        for thread in slots:
            thread.start()
        try:
            while True:
                conn = self.link.receive()
                if conn is None:
                    break
                todo.put(conn)
        finally:
            for thread in slots:
                todo.put(None)
            for thread in slots:
                thread.join()

    def slot(self, todo):
        for conn in iter(todo.get, None):
            self.handle(*conn)

    def handle(self, ident, waited, fd):
        """Serves one connection; it takes fd."""
        # Family and type are named to save the calls that ask for them; any stream does.
        done = "DONE=%d" % ident
        try:
            conn = Conn(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)
            if conn.gettimeout() is not None:  # the application's socket.setdefaulttimeout
                conn.settimeout(None)
        except OSError as error:
            os.close(fd)
            note("connection %d: %s" % (ident, error))
            self.link.send(done.encode())
            return
        input = Input(conn, self.patience, self.max_drain)
        reply = Reply(conn, input)
        try:
            self.answer(reply, input, waited)
        except BaseException as error:
            if self.child:
                raise
            self.guard(ident, self.report, reply, error)
            self.guard(ident, self.excuse, reply, error)
        if self.child:
            # The application forked and its child came back here: the connection
            # and the link are its parent's.
            raise SystemExit(0)
        self.guard(ident, self.finish, conn, input.unread(), reply.gone)
        if reply.code:
            done += "\nCODE=%d\nBYTES=%d" % (reply.code, reply.sent)
        self.link.send(done.encode())

    def guard(self, ident, step, *args):
        """Takes a step that must not cost the worker or a thread, nor DONE, whatever
        the application has done to what the step needs (a module, a signal's handler)."""
        try:
            step(*args)
        except BaseException as error:
            note("connection %d: %s in %s" % (ident, type(error).__name__, step.__name__))

    def answer(self, reply, input, waited):
        block = input.header()
        if block is None:
            return
        env, length = parse(block)
        input.begin_body(length)
        complete(env, self.mount)
        env.update(self.base)
        env["wsgi.input"] = input
        env["scgid.waited"] = waited
        method = env["REQUEST_METHOD"]
        # Now: the application may do with env what it likes.
        reply.request = method, env.get("REQUEST_URI") or env["SCRIPT_NAME"] + env["PATH_INFO"]
        reply.bodiless = method == "HEAD"
        reply.run(self.app, env)
        complaint = reply.complaint()
        if complaint and not self.child:
            note("%s: the application %s" % (named(reply.request), complaint))

    def report(self, reply, error):
        """Puts what failed into the log. A client that left is no error, and bad
        requests are counted by the master."""
        if reply.gone or isinstance(error, BadRequest):
            return
        if isinstance(error, (ShortBody, SlowBody)):
            note("%s: %s" % (named(reply.request), error))
            return
        note("%s: exception in the application\n%s" % (named(reply.request), traceback.format_exc().rstrip("\n")))

    def excuse(self, reply, error):
        """Answers for a request that failed, while nothing of a reply is sent."""
        if isinstance(error, BadRequest):
            reply.input.surplus = True  # whatever follows it
            reply.refuse(error.status, "Bad request: %s." % error)
        elif isinstance(error, (ShortBody, SlowBody)):
            reply.refuse(error.status, "The request ended early.")
        else:
            reply.refuse("500 Internal Server Error", "The application failed. Its log says why.")

    def finish(self, conn, unread, gone):
        """Ends a reply. The master holds the connection too, so only shutdown ends
        it; and a close on unread bytes would take back what the client has not read."""
        try:
            if unread and not gone:
                conn.shutdown(socket.SHUT_WR)
                drain(conn, min(unread, self.max_drain))
            conn.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the client was quicker
        try:
            conn.close()
        except OSError:
            pass


def named(request):
    """Method and URI, safe to print; None while they are not known."""
    if request is None:
        return "a connection"
    method, uri = request
    return "%s %s" % (ascii(method[:32])[1:-1], ascii(uri[:256])[1:-1])


def drain(conn, limit):
    """Reads away what the client still sends, within bytes and time."""
    poller = select.poll()
    poller.register(conn.fileno(), select.POLLIN)
    end = time.monotonic() + DRAIN_SECONDS
    while limit > 0:
        wait = end - time.monotonic()
        if wait <= 0 or not poller.poll(wait * 1000):
            return
        try:
            data = conn.recv(min(limit, BLOCK), socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        if not data:
            return
        limit -= len(data)


# --- the application -------------------------------------------------------


def load(name):
    """Returns the callable that MODULE:CALLABLE or path/to/file.wsgi names."""
    directory = os.getcwd()
    here = os.path.dirname(os.path.abspath(__file__))
    if sys.path and os.path.abspath(sys.path[0]) == here:
        del sys.path[0]  # our own directory is nobody's library
    sys.path.insert(0, directory)
    where, what = split_name(name)
    module = load_file(where) if is_file(where) else load_module(where)
    try:
        app = find(module, what)
    except AttributeError as error:
        if what == "application" and callable(getattr(module, "app", None)):
            raise AttributeError("%s, but app: name it %s:app" % (error, where)) from None
        raise
    if not callable(app):
        raise TypeError("%s is %s, not callable" % (name, type(app).__name__))
    return app


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
        text = "%s in %s or where Python looks" % (error, os.getcwd())
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


def find(module, text):
    """Follows a dotted name; calls a factory with literal arguments."""
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
    found = module
    for name in [node.id] + names:
        found = getattr(found, name)
    if call is None:
        return found
    args = [ast.literal_eval(arg) for arg in call.args]
    return found(*args, **{word.arg: ast.literal_eval(word.value) for word in call.keywords})


# --- the command -----------------------------------------------------------


def options_of(argv):
    import argparse

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
    text = os.environ.pop("SCGID_WORKER_FD", None)
    if text is None:
        sys.exit(
            "scgi_wsgi: SCGID_WORKER_FD is not set: this program is a worker that scgid starts\n"
            "scgi_wsgi: hint: scgid run --http 127.0.0.1:8080 -- scgi-wsgi MODULE:CALLABLE"
        )
    try:
        fd = int(text)
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
    except (OSError, ValueError, OverflowError) as error:
        sys.exit("scgi_wsgi: SCGID_WORKER_FD=%s is not a worker link: %s" % (text, error))
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_SEQPACKET:
        sys.exit("scgi_wsgi: SCGID_WORKER_FD=%s is not a Unix socket of type SOCK_SEQPACKET" % text)
    sock.setblocking(True)
    return Link(sock)


def one_line(text, limit=400):
    return "".join(c if c.isprintable() else " " for c in text[:limit])


def fail(link, name, error):
    """Reports that the application cannot be loaded, and exits: not by sys.exit,
    which waits for threads that half an import may have started."""
    note("cannot load %s\n%s" % (name, traceback.format_exc().rstrip("\n")))
    why = "%s: %s" % (type(error).__name__, error)
    link.send(("FAILED=" + one_line("cannot load %s: %s" % (name, why))).encode("utf-8", "backslashreplace"))
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
    os._exit(1)


def dump_on_usr2():
    """Makes the promise of DUMPSIGNAL=USR2 true; False if stderr is closed."""
    try:
        faulthandler.register(signal.SIGUSR2, all_threads=True)
    except (OSError, ValueError, RuntimeError, AttributeError):
        return False
    return True


def main(argv=None):
    options = options_of(argv)
    link = take_link()
    signals = Signals(link)
    os.register_at_fork(after_in_child=signals.forked)
    try:
        sys.stdout.reconfigure(line_buffering=True)  # else a killed worker's prints are lost
    except (AttributeError, ValueError):
        pass
    try:
        app = load(options.application)
        if options.validate:
            from wsgiref.validate import validator

            app = validator(app)
    except BaseException as error:
        fail(link, options.application, error)
    signals.take()
    worker = Worker(link, app, options)
    os.register_at_fork(after_in_child=worker.forked)
    gc.collect()
    gc.freeze()  # what the import left stays: no collection needs to look at it again
    dump = "\nDUMPSIGNAL=USR2" if dump_on_usr2() else ""
    link.send(("READY=1\nSLOTS=%d%s" % (worker.slots, dump)).encode())
    try:
        worker.serve()
    except Violation as error:
        note("%s, leaving" % error)
        return 1
    finally:
        # The interpreter's end puts the defaults back, and a second SIGTERM would kill.
        if not worker.child:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    return 0


if __name__ == "__main__":
    sys.exit(main())
