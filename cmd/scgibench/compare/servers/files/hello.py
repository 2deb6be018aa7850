"""The small WSGI application that scgibench compare asks of every server.

/ says hello, /cpu works for about 2 ms first (SCGIBENCH_ROUNDS, found once for
all servers), /sleep takes 50 ms and says which process has answered and when it
began.
"""

import os
import time

HELLO = b"Hello from scgibench"
ROUNDS = int(os.environ.get("SCGIBENCH_ROUNDS", "60000"))


def work():
    x = 1
    for i in range(ROUNDS):
        x = (x + i * i) & 0xFFFF
    return x


def sleep(environ):
    begin = time.time_ns()
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    time.sleep(0.05)
    return b"%d %d" % (os.getpid(), begin)


def application(environ, start_response):
    path = environ["PATH_INFO"]
    body = HELLO
    if path == "/cpu":
        work()
    elif path == "/sleep":
        body = sleep(environ)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
