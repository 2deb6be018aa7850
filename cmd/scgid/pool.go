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

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/activation"
	"github.com/scgid/scgid/master"
	"github.com/scgid/scgid/master/config"
	"github.com/scgid/scgid/master/process"
)

// A manner is what differs between serve and run.
type manner struct {
	from  source // of the configuration, for a reload
	adhoc bool   // a pool without a file
	http  string // the address of the HTTP front; "" is none

	stored []*os.File // entries of the service manager's descriptor store
}

// serve runs the pool until it is told to stop. It takes the sockets.
func serve(conf *config.Config, sockets []*activation.Socket, log logger, how manner) error {
	defer closeAll(sockets, log)
	set, err := settings(conf)
	if err != nil {
		return err
	}
	set.LogLevel, set.Journal = log.level, log.journal
	set.Reread = reread(how.from, conf, sockets)
	set.Groups = ownGroups(conf, how.adhoc, log)
	notify := activation.NewNotifier(func(err error) { log.Warn("cannot notify the service manager", "err", err) })
	defer notify.Close()
	set.Record = openRecord(conf.Name, how.stored, notify, log)
	defer set.Record.Close()
	m, err := master.New(set, listeners(sockets), faulty(notify), log.Logger)
	if err != nil {
		return err
	}
	closeControl, err := openControl(conf, m, how.adhoc, log)
	if err != nil {
		return err
	}
	defer closeControl()
	if how.http != "" {
		front, err := openFront(how.http, sockets[0], log)
		if err != nil {
			return err
		}
		defer front.Close()
	}
	defer watchSignals(m, log)()
	// Keeps the applications, which run as the same user, from our memory and
	// descriptors: see ptrace(2).
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		log.Warn("cannot keep others of this user out of our memory", "err", err)
	}
	log.Info("serving", "on", addresses(sockets), "workers", fmt.Sprintf("%d to %d", conf.Pool.MinWorkers, conf.Pool.MaxWorkers),
		"command", strings.Join(conf.Worker.ExecStart, " "))
	return m.Run()
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
		Name: conf.Name, PID: os.Getpid(), Version: version, Limits: conf.Pool.Limits, Effective: conf.Effective(),
		IdleTimeout: conf.Pool.IdleTimeout, IdleExit: conf.Pool.IdleExit,
		Command: process.Command{
			Argv: argv, Dir: conf.Worker.WorkingDirectory, Env: env,
			NOFILE:         orUnset(int(conf.Worker.LimitNOFILE)),
			Nice:           orUnset(conf.Worker.Nice),
			OOMScoreAdjust: oomScoreAdjust(conf.Worker.OOMScoreAdjust),
			MemoryMax:      conf.Worker.MemoryMax, TasksMax: conf.Worker.TasksMax,
		},
		StartTimeout: conf.Worker.StartTimeout, StopTimeout: conf.Worker.StopTimeout,
		HeaderTimeout: conf.Request.HeaderTimeout, MaxHeader: conf.Request.MaxHeaderBytes, AccessLog: conf.Request.AccessLog,
		Surge: conf.Pool.ReloadSurge, Unavailable: conf.Pool.ReloadUnavailable, ProbeURI: conf.Request.ProbeURI,
		QueueMax: conf.Queue.Max, QueueTimeout: conf.Queue.Timeout,
		Watchdog: activation.WatchdogInterval(),
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

// watchSignals steers the master until the function that it returns is called.
func watchSignals(m *master.Master, log logger) (stop func()) {
	signals := make(chan os.Signal, 8)
	// SIGPIPE: a log that nobody reads any more must not end the server; to
	// catch it, unlike ignoring it, is not passed on to workers.
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	go func() {
		interrupts := 0
		for s := range signals {
			switch s {
			case syscall.SIGTERM:
				finish(m)
			case syscall.SIGINT:
				if interrupts++; interrupts == 1 {
					log.Info("interrupted: finishing what was accepted; interrupt again to hurry")
					m.Finish()
				} else {
					m.Harden()
				}
			case syscall.SIGHUP:
				go m.Reload(context.Background()) // the log says what comes of it
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
	}
}

// errNoProgram is a command that cannot be found.
var errNoProgram = errors.New("no such program")
