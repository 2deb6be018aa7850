package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/control/api"
	"github.com/scgid/scgid/control/bus"
	"github.com/scgid/scgid/control/metrics"
	"github.com/scgid/scgid/master"
	"github.com/scgid/scgid/master/config"
)

// farewell is how long callers may take to read their last answers, such as
// the report of a stop, after the pool has ended.
const farewell = 3 * time.Second

// openControl serves the control socket and the bus, as far as there are to
// be any, until the function that it returns is called.
func openControl(p *pool, m *master.Master) func() {
	closeSocket := serveSocket(p, m)
	closeBus := openBus(p.conf, m, p.access, p.how.adhoc, p.log)
	return func() { closeBus(); closeSocket() }
}

// openBus shows the pool on D-Bus. A machine without a bus is normal.
func openBus(conf *config.Config, m *master.Master, access control.Access, adhoc bool, log logger) func() {
	address := conf.Control.Bus
	if address == "auto" {
		switch {
		case userInstance():
			address = "session"
		case adhoc:
			address = "off"
		default:
			address = "system"
		}
	}
	if address == "off" {
		return func() {}
	}
	if address == "system" {
		address = ""
	}
	front := bus.New(bus.Options{
		Pool: m, Access: access, Name: conf.Name, Version: version, Address: address,
		Report: func(err error) { notOnBus(log, err) },
		Log:    func(format string, args ...any) { log.Info(fmt.Sprintf(format, args...)) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		front.Run(ctx)
	}()
	return func() { cancel(); <-done }
}

// notOnBus logs why the pool is not on the bus. A name is mostly refused because
// its group was made after the bus had read its rules.
func notOnBus(log logger, err error) {
	if bus.Refused(err) {
		log.Info("not on the bus", "err", err, "hint", "systemctl reload dbus")
		return
	}
	log.Info("not on the bus", "err", err)
}

// controlSocket opens the control socket; nil means that there is none.
func controlSocket(conf *config.Config, adhoc bool, log logger) (net.Listener, error) {
	if conf.Control.SocketOff {
		return nil, nil
	}
	l, err := listenControl(conf)
	if err != nil && conf.Control.Socket != "" {
		return nil, err
	}
	if err != nil {
		hint := ""
		if adhoc && errors.Is(err, syscall.EADDRINUSE) {
			hint = ": give it another name with --name"
		}
		log.Warn("no control socket, scgictl will not find this pool"+hint, "err", err)
		return nil, nil
	}
	return l, nil
}

// serveSocket serves the control socket.
func serveSocket(p *pool, m *master.Master) func() {
	if p.control == nil {
		return func() {}
	}
	conf, l, log := p.conf, p.control, p.log
	server := api.NewServer(api.Options{
		Pool: m, Access: p.access, Metrics: metrics.Handler(counted{m, log}.Metrics, conf.Name, version),
		Log: func(format string, args ...any) { log.Info(fmt.Sprintf(format, args...)) },
	})
	go func() {
		if err := server.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) {
			log.Debug("the control socket is closed", "err", err)
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		server.Shutdown(ctx)
		if conf.Control.Socket == "" {
			// Made for this pool alone, unless it was there: then it is
			// mostly not empty, or the service manager's.
			os.Remove(filepath.Dir(l.Addr().String()))
		}
	}
}

// counted is the pool with what is counted outside of the master.
type counted struct {
	*master.Master
	log logger
}

func (c counted) Metrics(ctx context.Context) (control.Metrics, error) {
	m, err := c.Master.Metrics(ctx)
	m.LogDropped = c.log.Dropped()
	return m, err
}

// listenControl opens the socket where the configuration says, or where
// scgictl looks for it.
func listenControl(conf *config.Config) (net.Listener, error) {
	path := conf.Control.Socket
	if path == "" {
		base := "/run"
		if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && os.Geteuid() != 0 {
			base = dir
		}
		path = filepath.Join(base, "scgid", conf.Name, "control.sock")
	}
	return api.Listen(path)
}

// access returns who may do what, by user and group.
func access(conf *config.Config, adhoc bool) (control.Access, error) {
	a := control.Access{
		OwnUID:  uint32(os.Geteuid()),
		OwnFull: adhoc || conf.Control.OwnFull || userInstance(),
	}
	var err error
	if a.Group, err = groupID("Group", conf.Control.Group); err != nil {
		return a, err
	}
	if a.ReadGroup, err = groupID("ReadGroup", conf.Control.ReadGroup); err != nil {
		return a, err
	}
	own, err := os.Getgroups()
	if err != nil {
		return a, os.NewSyscallError("getgroups", err)
	}
	if a.Group >= 0 && a.OwnUID != 0 && (slices.Contains(own, a.Group) || os.Getegid() == a.Group) {
		return a, hinted{fmt.Errorf("[Control] Group=%s: the pool's own user is a member, so its applications could steer it", conf.Control.Group),
			"take the user out of that group, or name another"}
	}
	return a, nil
}

// userInstance says whether a user's own service manager or shell started us.
func userInstance() bool {
	return os.Geteuid() != 0 && os.Getenv("XDG_RUNTIME_DIR") != ""
}

// overflowGID is what the kernel shows for a group that has no number in our
// user namespace; see user_namespaces(7).
const overflowGID = 65534

// groupID resolves a group's name or number; -1 is nobody.
func groupID(key, name string) (int, error) {
	if name == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(name)
	if err != nil {
		g, err := user.LookupGroup(name)
		if err != nil {
			return -1, fmt.Errorf("[Control] %s=%s: there is no such group", key, name)
		}
		if n, err = strconv.Atoi(g.Gid); err != nil {
			return -1, fmt.Errorf("[Control] %s=%s: its number is %q", key, name, g.Gid)
		}
	}
	if n == overflowGID {
		return -1, fmt.Errorf("[Control] %s=%s: this group is everybody's that the user namespace does not know", key, name)
	}
	return n, nil
}
