#!/usr/bin/python3
# SPDX-License-Identifier: MIT
# A whole worker for scgid, without a library: scgid-worker(7) in ten lines. Run it with
#     scgid run --listen 127.0.0.1:4000 -- python3 plain_worker.py
import contextlib, os, signal, socket, threading

link = socket.socket(fileno=int(os.environ.pop("SCGID_WORKER_FD")))
os.set_inheritable(link.fileno(), False)
# SIGTERM means: finish what you hold. Shutting our end for reading is all of it; what is queued still
# arrives, then the end of file. A thread waits for it and not a signal.signal handler, because Python runs
# those between two instructions: one that is due just before recvmsg sleeps would wait for the next packet.
# The price: SIGTERM stays blocked in every program started from here (scgi_wsgi.py does it without).
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
leave = lambda: (signal.sigwait([signal.SIGTERM]), link.shutdown(socket.SHUT_RD))
threading.Thread(target=leave, daemon=True).start()

link.send(b"READY=1")
while True:
    text, fds, _, _ = socket.recv_fds(link, 4096, 1, socket.MSG_CMSG_CLOEXEC)
    if not text:
        break  # retired, or the master is gone: nothing is held here, so exit
    with contextlib.suppress(OSError), socket.socket(fileno=fds[0]) as conn, conn.makefile("rb") as request:
        size = b"".join(iter(lambda: request.read(1), b":"))  # a netstring; the master has checked it
        names = request.read(int(size) + 1)[:-2].split(b"\0")
        env = dict(zip(names[::2], names[1::2]))
        request.read(int(env[b"CONTENT_LENGTH"]))  # read it whole, or the reply may be lost at the close
        conn.sendall(b"Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nHello from %d\n" % os.getpid())
    link.send(text.split(b"\n")[0].replace(b"CONN", b"DONE"))  # this ends the reply: the master holds it too
