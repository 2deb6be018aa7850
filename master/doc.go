// Package master keeps a pool of worker processes and gives each accepted
// connection to one of them, so that none is lost: not when a worker dies, is
// retired or replaced, and not when the master is told to stop.
//
// One goroutine, the loop, owns all state: listeners, connections, workers,
// timers and counters. loop.go shows in one screen all that can happen, and
// post.go the one way in. What might block (starting a process, writing a log
// line) is done by other goroutines, which post their results.
//
//	listener ──accept4──▶ parked ──header whole──▶ waiting ──sendmsg──▶ passed ──DONE──▶ closed
//	                         │                        │                    │
//	                         └── 400 408 431 ──┐      ├── 503 ──┐          ├── worker died, unread: waiting again
//	                                           ▼      ▼         ▼          └── worker died, read: closed
//	                                        ending (reply written, rest drained) ──▶ closed
//
// Package master reads no configuration files, opens no listening sockets and
// serves no control connections: package cmd/scgid hands it what it needs.
package master
