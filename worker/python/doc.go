// Package python serves WSGI applications: scgi_wsgi.py is the stock worker
// for them, one file that needs only Python's standard library (3.9 and newer).
//
// It promises PEP 3333 in full over the worker link (protocol 1): whatever the
// application does, each connection that it received gets its end of reply and
// each id its DONE, and SIGTERM never meets a request. plain_worker.py is a
// worker without it, as an example of the protocol, and demo.py the
// application of "make demo".
//
// The owner of the processes is the master; the link is described in package
// worker/link and scgid-worker(7). There is no Go code here but the tests,
// which act as a small master of their own. It is not an HTTP server, and it
// neither accepts connections nor starts processes.
package python
