package main

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/scgid/scgid/activation"
	"github.com/scgid/scgid/master/record"
)

// openRecord returns the record that the service manager has kept, or a new
// record, which the manager is given to keep. Without a manager there is none,
// nil. openRecord takes the files of the descriptor store.
func openRecord(pool string, stored []*os.File, notify *activation.Notifier, log logger) *record.Record {
	kept := newestRecord(pool, stored, log)
	if !notify.HasManager() {
		kept.Close()
		return nil
	}
	if kept != nil && len(stored) == 1 {
		return kept // the manager has it already, and nothing else
	}
	var err error
	if kept == nil {
		kept, err = record.New(pool)
	}
	if err == nil {
		err = notify.Store(activation.StateName, kept.FD())
	}
	if err != nil {
		log.Warn("limits set at run time will not outlive a crash", "err", err)
	}
	return kept
}

// newestRecord returns the record with which a master began last, nil without
// any. It takes the files.
func newestRecord(pool string, stored []*os.File, log logger) (newest *record.Record) {
	for _, f := range stored {
		if f.Name() != activation.StateName {
			log.Info("closed an inherited descriptor that is not a listening socket", "name", f.Name())
			f.Close()
			continue
		}
		r, err := reopen(f, pool)
		if err != nil {
			log.Warn("closed what the service manager had kept for us", "err", err)
			continue
		}
		if r.Newer(newest) {
			newest, r = r, newest
		}
		r.Close()
	}
	return newest
}

// reopen takes f.
func reopen(f *os.File, pool string) (*record.Record, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return record.Open(fd, pool)
}
