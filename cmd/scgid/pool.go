package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/activation"
	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master"
	"github.com/scgid/scgid/master/config"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/master/record"
)

// A runMode is what differs between serve and run.
type runMode struct {
	from  source // of the configuration, for a reload
	adhoc bool   // a pool without a file
	http  string // the address of the HTTP front; "" is none

	hangup bool // SIGHUP ends the pool, with its terminal; else it is a reload

	stored []*os.File // entries of the service manager's descriptor store
}

// A pool is what the master is run with beside its settings. It is handed over
// when the process executes itself again; see upgrade.go.
type pool struct {
	conf    *config.Config // of the beginning; after an upgrade only what handoverState has
	how     runMode
	program string // absolute path of scgid
	access  control.Access
	sockets []*activation.Socket
	control net.Listener // the control socket; nil without one
	notify  *activation.Notifier
	record  *record.Record // nil without one
	groups  *process.Groups
	log     logger
	signals chan os.Signal
}

// serve runs the pool until it is told to stop. It takes the sockets.
func serve(conf *config.Config, sockets []*activation.Socket, log logger, how runMode) error {
	p := &pool{conf: conf, how: how, sockets: sockets, log: log}
	defer p.close()
	set, err := settings(conf)
	if err != nil {
		return err
	}
	p.notify = p.newNotifier()
	p.record = openRecord(conf.Name, how.stored, p.notify, log)
	p.groups = ownGroups(conf, how.adhoc, log)
	m, err := master.New(p.host(), set)
	if err != nil {
		return err
	}
	if p.program, err = ownProgram(); err != nil {
		return err
	}
	if p.access, err = access(conf, how.adhoc); err != nil {
		return err
	}
	if p.control, err = controlSocket(conf, how.adhoc, log); err != nil {
		return err
	}
	p.signals = captureSignals()
	log.Info("serving", "on", addresses(sockets), "workers", fmt.Sprintf("%d to %d", conf.Pool.MinWorkers, conf.Pool.MaxWorkers),
		"command", strings.Join(conf.Worker.ExecStart, " "))
	return p.run(m)
}

// host is what belongs to the running program and its process, not to the
// configuration.
func (p *pool) host() master.Host {
	build, err := buildID()
	if err != nil {
		p.log.Warn("cannot tell which build this is", "err", err)
	}
	return master.Host{
		Name: p.conf.Name, PID: os.Getpid(), Version: version, Build: build,
		Listeners: listeners(p.sockets), Notify: faulty(p.notify),
		Log: p.log.Logger, Flush: func(limit time.Duration) { p.log.Flush(limit) }, LogLevel: p.log.level, Journal: p.log.journal, Watchdog: activation.WatchdogInterval(),
		Record: p.record, Groups: p.groups, ShowFailure: p.how.adhoc,
		Reread: reread(p.how.from, p.conf, p.sockets),
	}
}

func (p *pool) newNotifier() *activation.Notifier {
	return activation.NewNotifier(func(err error) { p.log.Warn("cannot notify the service manager", "err", err) })
}

// run runs the master, with all front ends.
func (p *pool) run(m *master.Master) error {
	m.SetHandover(p.handover())
	defer openControl(p, m)()
	if p.how.http != "" {
		front, err := openFront(p.how.http, p.sockets[0], p.log)
		if err != nil {
			return err
		}
		defer front.Close()
	}
	defer watchSignals(m, p.signals, p.how.hangup, p.log)()
	p.tellVisible(keepOthersOut())
	return m.Run()
}

// keepOthersOut keeps the applications, which run as the same user, from our
// memory and descriptors: see ptrace(2).
func keepOthersOut() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}

func (p *pool) tellVisible(err error) {
	if err != nil {
		p.log.Warn("cannot keep others of this user out of our memory", "err", err)
	}
}

func (p *pool) close() {
	p.record.Close()
	if p.notify != nil {
		p.notify.Close()
	}
	closeAll(p.sockets, p.log)
}

func closeAll(sockets []*activation.Socket, log logger) {
	for _, s := range sockets {
		if err := s.Close(); err != nil {
			log.Warn("cannot close a socket", "socket", s.Addr(), "err", err)
		}
	}
}

func listeners(sockets []*activation.Socket) []master.Listener {
	var all []master.Listener
	for _, s := range sockets {
		all = append(all, master.Listener{Name: s.Name(), Addr: s.Addr(), FD: s.FD(), Unix: s.Unix(), Inherited: s.Inherited(), Backlog: s.Backlog})
	}
	return all
}

// settings turns a configuration into what the master runs with.
func settings(conf *config.Config) (master.Settings, error) {
	env, err := environ(conf)
	if err != nil {
		return master.Settings{}, err
	}
	argv, err := resolve(conf.Worker.ExecStart, env)
	if err != nil {
		return master.Settings{}, err
	}
	return master.Settings{
		Limits: conf.Pool.Limits, Effective: conf.Effective(),
		IdleTimeout: conf.Pool.IdleTimeout, IdleExit: conf.Pool.IdleExit,
		Command: process.Command{
			Argv: argv, Dir: conf.Worker.WorkingDirectory, Env: env,
			NOFILE:         orUnset(int(conf.Worker.LimitNOFILE)),
			Nice:           orUnset(conf.Worker.Nice),
			OOMScoreAdjust: oomScoreAdjust(conf.Worker.OOMScoreAdjust),
			MemoryMax:      conf.Worker.MemoryMax, TasksMax: conf.Worker.TasksMax,
		},
		Preload:      conf.Worker.Preload,
		StartTimeout: conf.Worker.StartTimeout, StopTimeout: conf.Worker.StopTimeout,
		HeaderTimeout: conf.Request.HeaderTimeout, MaxHeader: conf.Request.MaxHeaderBytes, AccessLog: conf.Request.AccessLog,
		Surge: conf.Pool.ReloadSurge, Unavailable: conf.Pool.ReloadUnavailable, ProbeURI: conf.Request.ProbeURI,
		QueueMax: conf.Queue.Max, QueueTimeout: conf.Queue.Timeout,
	}, nil
}

func orUnset(n int) int {
	if n == 0 {
		return process.Unset
	}
	return n
}

// oomScoreAdjust keeps the workers above the master, which must outlive them:
// where the master's own value is as high already (a user's session gives
// 200), theirs is 100 more. Lowering it would need privileges besides.
func oomScoreAdjust(want int) int {
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return process.Unset
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || own < want {
		return want
	}
	return min(own+100, 1000)
}

// errNoProgram is a command that cannot be found.
var errNoProgram = errors.New("no such program")
