// Package activation gives the server its listening sockets by name, whether
// the service manager passed them or they are opened here, and tells the
// service manager how the server is.
//
// Each Socket owns one descriptor: close-on-exec, non-blocking, listening.
// What was inherited belongs to the service manager in all but the descriptor:
// this package never calls listen on it, never removes or changes its path.
// A Notifier owns one goroutine, so that no caller waits for the manager.
//
// Package activation accepts no connections, reads no configuration and logs
// nothing. See sd_listen_fds(3), sd_notify(3) and unix(7).
package activation
