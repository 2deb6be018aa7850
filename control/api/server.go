package api

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/scgid/scgid/control"
)

// Bounds on what one caller may cost.
const (
	maxBody       = 64 << 10
	maxHead       = 16 << 10
	headTime      = 5 * time.Second  // for a request's header
	bodyTime      = 10 * time.Second // for its body
	writeTime     = 10 * time.Second // for a reply, or an event
	idleTime      = 60 * time.Second // between requests
	keepaliveTime = 20 * time.Second // between comments on a quiet event stream
	maxScrapes    = 4                // at once
	maxStreams    = 32               // of events; for all but uid 0 a quarter stays free
	userStreams   = 8                // of one user other than uid 0
)

// Options say what a Server serves.
type Options struct {
	Pool   control.Pool
	Access control.Access

	// Metrics answers GET /metrics for callers that may read; nil is that
	// there is nothing at this path. Package metrics makes it.
	Metrics http.Handler

	// Log takes a line for each change, with who made it, and for each error
	// that was survived. It must not block, and may be nil.
	Log func(format string, args ...any)
}

// A Server serves a pool on its control socket.
type Server struct {
	pool    control.Pool
	access  control.Access
	metrics http.Handler
	log     func(format string, args ...any)
	who     func(*net.UnixConn) (control.Caller, error) // tests say; nil is the kernel

	http      http.Server
	routes    map[string]*route
	keepalive time.Duration
	scrapes   chan struct{}
	ended     chan struct{} // closed when Shutdown begins
	end       sync.Once
	public    control.PublicReader

	streams control.Quota

	mu         sync.Mutex
	admissions []*admission // guarded by mu
}

// NewServer returns a server; Serve starts it.
func NewServer(o Options) *Server {
	s := &Server{
		pool: o.Pool, access: o.Access, metrics: o.Metrics, log: o.Log,
		keepalive: keepaliveTime,
		scrapes:   make(chan struct{}, maxScrapes),
		ended:     make(chan struct{}),
		streams:   control.Quota{All: maxStreams, Others: maxStreams * 3 / 4, User: userStreams},
	}
	if s.log == nil {
		s.log = func(string, ...any) {}
	}
	s.routes = s.table()
	s.http = http.Server{
		Handler:           s,
		ReadHeaderTimeout: headTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHead - 4096, // net/http allows 4096 more than this
		ErrorLog:          log.New(logWriter(s.log), "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c.(*conn))
		},
		// OPTIONS * is a path like others.
		DisableGeneralOptionsHandler: true,
	}
	return s
}

// connKey finds the connection of a request in its context.
type connKey struct{}

// logWriter gives net/http's lines to a log function.
type logWriter func(format string, args ...any)

func (l logWriter) Write(p []byte) (int, error) {
	l("control: %s", strings.TrimSpace(string(p)))
	return len(p), nil
}

// Serve takes l, which Listen made, and answers on it until Shutdown, when it
// returns http.ErrServerClosed, or until l fails.
func (s *Server) Serve(l net.Listener) error {
	a := newAdmission(l, s.access, s.log)
	if s.who != nil {
		a.who = s.who
	}
	s.mu.Lock()
	s.admissions = append(s.admissions, a)
	s.mu.Unlock()
	return s.http.Serve(a)
}

// Shutdown ends the server: no new connections, no new requests, event streams
// end, and requests being answered are finished, such as a stop that reports.
// When ctx ends first, it cuts these too and returns the context's error.
// Nothing of the server is left then but calls of the pool that outlive their
// contexts.
func (s *Server) Shutdown(ctx context.Context) error {
	s.end.Do(func() { close(s.ended) })
	s.mu.Lock()
	admissions := s.admissions
	s.mu.Unlock()
	for _, a := range admissions {
		a.closeNew()
	}
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	return err
}

// A call is one request, with its caller.
type call struct {
	w   http.ResponseWriter
	r   *http.Request
	out *http.ResponseController
	who control.Caller
	has control.Level
}

// A route is what may be done with a path.
type route struct {
	allow string
	do    map[string]func(*call) error // by method
}

// table makes the routes: the paths are exactly these.
func (s *Server) table() map[string]*route {
	get := func(do func(*call) error) *route {
		return &route{allow: http.MethodGet, do: map[string]func(*call) error{http.MethodGet: do}}
	}
	table := map[string]*route{
		pathEvents: get(s.serveEvents),
		pathVerbs:  get(s.serveVerbs),
	}
	if s.metrics != nil {
		table[pathMetrics] = get(s.serveMetrics)
	}
	for _, v := range control.Verbs() {
		r := &route{allow: http.MethodPost, do: map[string]func(*call) error{
			http.MethodPost: func(c *call) error { return s.serveVerb(c, v) },
		}}
		if reads(v) {
			r.allow = "GET, POST"
			r.do[http.MethodGet] = func(c *call) error { return s.serveReading(c, v) }
		}
		table[pathV1+v.Name] = r
	}
	return table
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, ok := r.Context().Value(connKey{}).(*conn)
	if !ok {
		panic("the request came through Serve")
	}
	c := &call{w: w, r: r, out: http.NewResponseController(w), who: conn.caller, has: conn.level}
	c.boundBody()
	err := conn.begin()
	if err != nil {
		w.Header().Set("Connection", "close")
	} else {
		err = s.route(c)
	}
	if err != nil {
		c.fail(err)
	}
}

func (s *Server) route(c *call) error {
	// Browsers send Origin; nothing that should talk to this socket is one.
	if len(c.r.Header["Origin"]) > 0 {
		return control.Errorf(control.CodeDenied, "requests with an Origin header are refused")
	}
	path, query, _ := strings.Cut(c.r.RequestURI, "?")
	r := s.routes[path]
	if r == nil {
		return control.Errorf(control.CodeNoVerb, "there is nothing at %.80q", path).
			WithHint("GET " + pathVerbs + " lists what there is")
	}
	do := r.do[c.r.Method]
	if do == nil {
		c.w.Header().Set("Allow", r.allow)
		return &statusError{http.StatusMethodNotAllowed,
			control.Errorf(control.CodeInvalid, "%s takes %s, not %.20q", path, r.allow, c.r.Method)}
	}
	if c.r.Method == http.MethodGet && c.r.ContentLength != 0 {
		return control.Errorf(control.CodeInvalid, "GET takes no body")
	}
	if query != "" && path != pathMetrics { // monitoring adds its own there
		return control.Errorf(control.CodeInvalid, "%s takes no query", path).
			WithHint("arguments are a JSON object in the body of a POST request")
	}
	return do(c)
}

// A statusError has a status more exact than that of its code.
type statusError struct {
	status int
	err    *control.Error
}

func (e *statusError) Error() string { return e.err.Text }
func (e *statusError) Unwrap() error { return e.err }

// allow denies what needs more than the caller has.
func (c *call) allow(needs control.Level, v *control.Verb) error {
	if c.has < needs {
		return control.Denied(v, c.who, c.has)
	}
	return nil
}

// boundBody limits the time in which the body, if there is one, must have
// come, also for net/http, which reads on when the request is answered.
func (c *call) boundBody() {
	if c.r.ContentLength != 0 {
		_ = c.out.SetReadDeadline(time.Now().Add(bodyTime))
	}
}

// body reads the whole body.
func (c *call) body() ([]byte, error) {
	tooLarge := &statusError{http.StatusRequestEntityTooLarge,
		control.Errorf(control.CodeInvalid, "the body is larger than %d bytes", maxBody)}
	if c.r.ContentLength > maxBody {
		return nil, tooLarge
	}
	b, err := io.ReadAll(io.LimitReader(c.r.Body, maxBody+1))
	if err != nil {
		return nil, control.Errorf(control.CodeInvalid, "cannot read the body: %v", err)
	}
	if len(b) > maxBody {
		return nil, tooLarge
	}
	return b, nil // net/http lifts the deadline where the body ends
}

// reply sends v as JSON.
func (c *call) reply(v any) error {
	b, err := marshal(v)
	if err != nil {
		return err
	}
	c.send(http.StatusOK, typeJSON, b)
	return nil
}

// fail sends err as a problem.
func (c *call) fail(err error) {
	status := 0
	if exact, ok := err.(*statusError); ok {
		status = exact.status
	}
	p := problemOf(asError(err), status)
	if c.r.ContentLength != 0 {
		// Perhaps the body was not read: the connection is of no more use.
		c.w.Header().Set("Connection", "close")
	}
	c.send(p.Status, typeProblem, p.json())
}

func (c *call) send(status int, contentType string, body []byte) {
	c.begin(status, contentType)
	_, _ = c.w.Write(body) // a caller that left misses it
}

// begin sends the head of a reply.
func (c *call) begin(status int, contentType string) {
	h := c.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_ = c.out.SetWriteDeadline(time.Now().Add(writeTime))
	c.w.WriteHeader(status)
}
