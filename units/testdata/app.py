"""A WSGI application for the tests: it says who answered what.

/hold works until it is told to go on, /slow a little, /log writes to the log,
/die too and dies in the middle of a line, /daemon leaves a daemon behind, /eat
takes memory without end; a POST is answered with the checksum of its body. With
NOTE set each request that begins is a line of a file.
"""

import hashlib
import os
import signal
import subprocess
import time


def application(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    state = "/var/lib/scgid/" + os.environ["SCGID_POOL"] + "/"
    if "NOTE" in os.environ:
        with open(state + "begun", "a") as begun:
            begun.write(query + "\n")
    if path == "/hold":
        open(state + query + ".held", "w").close()
        while not os.path.exists(state + query + ".go"):
            time.sleep(0.005)
    elif path == "/slow":
        time.sleep(0.02)
    elif path == "/log":
        os.write(2, b"<4>a warning of the application\na plain line of the application\n")
    elif path == "/die":
        os.write(1, b"a short line\n")
        os.write(2, b"long " + 40000 * b"x" + b"\nhalf a line")
        os.kill(os.getpid(), signal.SIGKILL)
    elif path == "/daemon":
        daemon = subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL, start_new_session=True)
        with open(state + query + ".daemon", "w") as told:
            told.write(f"{os.getpid()} {daemon.pid}")
    elif path == "/eat":
        eaten = []
        while True:
            eaten.append(bytearray(1 << 20))
    who = str(os.getppid())
    if environ["REQUEST_METHOD"] == "POST":
        who = hashlib.sha256(environ["wsgi.input"].read()).hexdigest()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{who} {query}".encode()]
