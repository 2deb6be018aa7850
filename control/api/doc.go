// Package api serves the control socket of a pool, and is its client: HTTP/1.1
// and JSON over a Unix socket, so that curl, web servers and monitoring agents
// can use it as they are.
//
//	GET  /v1/status /v1/workers /v1/requests /v1/config /v1/log-level
//	POST /v1/VERB    with a JSON object of arguments
//	GET  /v1/events  text/event-stream or application/x-ndjson, by Accept
//	GET  /v1/verbs   what there is
//	GET  /metrics    OpenMetrics or Prometheus text
//
// A call lasts as long as what it asks for: a stop, or an operation (reload,
// rollback, upgrade), which continues when its caller leaves. An upgrade that
// succeeds ends the connection without a reply.
//
// It owns the socket, its connections and the access check: by
// user and group, as the kernel says at accept, never by what a request says.
// Errors are RFC 9457 problems whose type ends in a code of package control.
// All state of the pool, and the meaning of each verb, is behind control.Pool.
package api

import "github.com/scgid/scgid/control"

// SocketName is the name of a control socket in its pool's runtime directory.
const SocketName = "control.sock"

const (
	pathV1      = "/v1/"
	pathEvents  = pathV1 + "events"
	pathVerbs   = pathV1 + "verbs"
	pathMetrics = "/metrics"
)

// Media types.
const (
	typeJSON    = "application/json"
	typeProblem = "application/problem+json"
	typeSSE     = "text/event-stream"
	typeNDJSON  = "application/x-ndjson"
)

// reads says whether GET is a way to call v.
func reads(v *control.Verb) bool { return v.Level == control.LevelRead || v.Reads }
