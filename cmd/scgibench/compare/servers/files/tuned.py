"""The least that a Python worker of the C dispatcher can do for a WSGI request:
receive, read, parse, call, write, close, say so. Hardly an error is handled.
"""

import io
import os
import socket
import struct

from hello import application

link = socket.socket(fileno=int(os.environ["FLOOR_LINK_FD"]))
status = ""


def start_response(text, headers, exc_info=None):
    global status
    status = "Status: " + text + "\r\n" + "".join([k + ": " + v + "\r\n" for k, v in headers]) + "\r\n"


def parse(fd):
    data = os.read(fd, 65536)
    size, _, rest = data.partition(b":")
    block = rest[: int(size)].decode("latin-1").split("\0")
    environ = dict(zip(block[::2], block[1::2]))
    body = rest[int(size) + 1 :]
    if len(body) < int(environ["CONTENT_LENGTH"]):
        body += os.read(fd, 65536)
    environ["wsgi.input"] = io.BytesIO(body)
    return environ


while True:
    note, control, _, _ = link.recvmsg(16, 64, socket.MSG_CMSG_CLOEXEC)
    if not note:
        break
    fd = struct.unpack("i", control[0][2])[0]
    environ = parse(fd)
    body = b"".join(application(environ, start_response))
    try:
        os.write(fd, status.encode("latin-1") + body)
    except BrokenPipeError:  # a warm-up that has run out of time
        pass
    os.close(fd)
    link.send(b"d")
