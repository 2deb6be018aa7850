"""The scgi package's pre-forking server with the application of hello.py, as
its own documentation has handlers: nas.py SOCKET MAX_CHILDREN
"""

import os
import socket
import sys
import time

from hello import HELLO, work
from scgi import scgi_server


class Handler(scgi_server.SCGIHandler):
    def produce(self, env, bodysize, input, output):
        body = HELLO
        path = env["PATH_INFO"]
        if path == "/cpu":
            work()
        elif path == "/sleep":
            begin = time.time_ns()
            input.read(bodysize)
            time.sleep(0.05)
            body = b"%d %d" % (os.getpid(), begin)
        output.write(b"Status: 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
scgi_server.SCGIServer(Handler, max_children=int(sys.argv[2])).serve_on_socket(listener)
