package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/scgid/scgid/cmd/scgibench/cost"
	"github.com/scgid/scgid/cmd/scgibench/load"
	"github.com/scgid/scgid/worker/scgi"
	"github.com/spf13/cobra"
)

const help = `Send SCGI requests to ADDR, each on a connection of its own, check every
reply, and print requests a second, latencies and errors.

ADDR is /path, unix:/path, @abstract or host:port.

A reply is good when it ends after a whole header and the whole body that its
Content-Length announces, with a status from 200 to 399 or the expected one.
Errors are counted by kind:
  refused  no server listens at the address
  backlog  the backlog of the Unix listener is full (EAGAIN)
  connect  the connection could not be opened for another reason
  reset    the server reset the connection
  empty    the server closed the connection without a byte
  short    the reply ended within its header or its body
  header   the reply does not begin with a valid header
  status   not the expected status
  length   not the expected length of the body
  body     not the expected body
  timeout  the reply had not ended in time
A client whose request got no reply at all waits a millisecond, or its pause,
before the next. Latency is from before connect to the end of the reply, of
good requests only; percentiles are at most 1.6 % off.

SIGINT ends the run early: requests in progress get one second, then the results
so far are printed.

--json prints one object with the keys
  address, clients, threads, requests, ok, failed, unfinished, seconds,
  requests_per_second, bytes_sent, bytes_received,
  latency_us   {min, mean, p50, p90, p99, p99_9, max}
  errors       {kind: number}, every kind always there
  statuses     {code: number} of whole replies; bad_status of the failed ones
  examples     {kind: text} of the first error of each kind
  per_client   [number of requests of each client]
  generator_cpu_us_per_request
  server       with --server-pid: {pid, processes, master, tree,
               kernel_threads_cpu_us, syscalls}; master and tree are
               {cpu_us, switches} a request, syscalls {name: calls a request}

Exit status: 0 when every request was good, 1 when one failed, 2 for a wrong
command line.`

// A bench is one command line.
type bench struct {
	load    load.Load
	vars    []string
	body    string
	length  string
	text    string
	json    bool
	pid     int
	strace  bool
	running bool // the command line was right: errors from now on are not about it
	failed  bool // at least one request was not good
}

func (b *bench) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "scgibench [flags] ADDR",
		Short:             "load generator for SCGI addresses",
		Long:              help,
		Args:              oneAddress,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE:              b.run,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVarP(&b.load.Clients, "clients", "c", 1, "`N` clients that send at the same time")
	f.Int64VarP(&b.load.Requests, "requests", "n", 0, "end after `N` requests")
	f.DurationVarP(&b.load.Duration, "duration", "d", 0, "end after this `TIME` (10s when neither -n nor -d is given)")
	f.DurationVar(&b.load.Pause, "pause", 0, "`TIME` each client waits between two requests")
	f.DurationVar(&b.load.Timeout, "timeout", 30*time.Second, "`TIME` a request may take")
	f.StringVar(&b.load.Method, "method", "", "request `METHOD` (GET, or POST with a body)")
	f.StringVar(&b.load.URI, "uri", "/", "request `URI`")
	f.StringVar(&b.body, "body", "0", "`SIZE` of the request body, such as 4096, 64K, 10M")
	f.StringArrayVar(&b.vars, "header", nil, "`NAME=VALUE` of a variable to set, any number of times")
	f.IntVar(&b.load.Expect.Status, "expect-status", 0, "`CODE` that every reply must have")
	f.StringVar(&b.length, "expect-length", "", "`SIZE` that every reply's body must have")
	f.StringVar(&b.text, "expect-body", "", "`TEXT` that every reply's body must be, or sha256:HEX of it")
	f.IntVar(&b.load.Threads, "threads", 1, "`N` threads that the clients are spread over")
	f.IntVar(&b.pid, "server-pid", 0, "measure the processes from this `PID` down, on this machine")
	f.BoolVar(&b.strace, "strace", false, "with --server-pid: count system calls; distorts all other figures")
	f.BoolVar(&b.json, "json", false, "print JSON")
	cmd.AddCommand(b.compareCommand())
	cmd.SetHelpCommand(&cobra.Command{Hidden: true, Use: "no-help"})
	return cmd
}

// oneAddress says how many addresses there were: a forgotten quote in --header
// looks like a second one.
func oneAddress(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one address, have %d", len(args))
	}
	return nil
}

// fill turns the flags that are text into the Load.
func (b *bench) fill(cmd *cobra.Command, addr string) (err error) {
	b.load.Address = addr
	if b.load.Requests == 0 && b.load.Duration == 0 {
		b.load.Duration = 10 * time.Second
	}
	if b.strace && b.pid == 0 {
		return errors.New("--strace needs --server-pid")
	}
	if b.load.Body, err = size(b.body); err != nil {
		return fmt.Errorf("--body: %v", err)
	}
	if cmd.Flags().Changed("expect-length") {
		n, err := size(b.length)
		if err != nil {
			return fmt.Errorf("--expect-length: %v", err)
		}
		b.load.Expect.Length = &n
	}
	if cmd.Flags().Changed("expect-body") {
		b.load.Expect.Body = &b.text
	}
	for _, v := range b.vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return fmt.Errorf("--header: %q is not NAME=VALUE", v)
		}
		b.load.Vars = append(b.load.Vars, scgi.Var{Name: name, Value: value})
	}
	return b.load.Check()
}

// size reads a number of bytes, such as 4096 or 64K. Units are powers of 1024,
// because that is what the servers' own limits are written in.
func size(s string) (int64, error) {
	digits, shift := s, 0
	for i, unit := range []string{"K", "M", "G"} {
		if before, ok := strings.CutSuffix(s, unit); ok {
			digits, shift = before, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<(62-shift) {
		return 0, fmt.Errorf("%q is not a size such as 4096, 64K or 10M", s)
	}
	return n << shift, nil
}

func (b *bench) run(cmd *cobra.Command, args []string) error {
	if err := b.fill(cmd, args[0]); err != nil {
		return err
	}
	b.running = true
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal has its default action again: a run that hangs can be
	// ended from the keyboard.
	context.AfterFunc(ctx, stop)
	res, server, err := b.measure(ctx)
	if err != nil {
		return err
	}
	b.failed = res.Failed > 0
	if b.json {
		return writeJSON(cmd.OutOrStdout(), res, server)
	}
	return writeText(cmd.OutOrStdout(), res, server)
}

// measure runs the load, and reads what the server has used before and after it
// if --server-pid names one. The two readings stand next to the load, inside of
// strace's attaching and detaching, which takes time itself.
func (b *bench) measure(ctx context.Context) (*load.Result, *cost.PerRequest, error) {
	done := b.progress()
	defer done()
	if b.pid == 0 {
		res, err := b.load.Run(ctx)
		return res, nil, err
	}
	var res *load.Result
	var used cost.Cost
	var calls map[string]int
	run := func() error {
		before, err := cost.Take(b.pid)
		if err != nil {
			return err
		}
		if res, err = b.load.Run(ctx); err != nil {
			return err
		}
		after, err := cost.Take(b.pid)
		if err == nil {
			used = after.Since(before)
		}
		return err
	}
	err := error(nil)
	if b.strace {
		calls, err = traced(b.pid, run)
	} else {
		err = run()
	}
	if err != nil {
		return nil, nil, err
	}
	server := used.Per(res.Requests, b.pid)
	if calls != nil {
		server.Syscalls = perRequest(calls, res.Requests)
	}
	return res, &server, nil
}

// traced counts the server's system calls during run. The error of run comes
// first: without a load there is nothing to be counted.
func traced(pid int, run func() error) (map[string]int, error) {
	var failed error
	calls, err := cost.CountSyscalls(pid, func() { failed = run() })
	if failed != nil {
		return nil, failed
	}
	return calls, err
}

// perRequest divides by at least one request, so that a run in which none was
// possible still has figures that JSON can hold.
func perRequest(calls map[string]int, requests int64) map[string]float64 {
	share := make(map[string]float64, len(calls))
	for name, n := range calls {
		share[name] = float64(n) / float64(max(1, requests))
	}
	return share
}
