package master

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/record"
	"golang.org/x/sys/unix"
)

// crashed is the record of a master that has not ended, as write has left it.
func crashed(t testing.TB, write func(*record.Record)) *record.Record {
	t.Helper()
	before, err := record.New("wiki")
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	before.Begin(4711)
	write(before)
	fd, err := unix.FcntlInt(uintptr(before.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := record.Open(fd, "wiki")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// bare is a loop that has only what takeUp needs.
func bare(r *record.Record, configured control.Limits, log io.Writer) *loop {
	l := newLoop(newHost(Host{PID: 4712, Log: slog.New(slog.NewTextHandler(log, nil)), Record: r}))
	l.limits.Now, l.limits.Configured, l.now = configured, configured, time.Second
	return l
}

func TestLimitsThatTheConfigurationDoesNotAllowAnyMoreAreDropped(t *testing.T) {
	was := control.Limits{MinWorkers: 1, MaxWorkers: 4, MinIdle: 0, MaxIdle: 2}
	for _, tt := range []struct {
		name              string
		set, now, want    control.Limits
		wantLog, wantNone string
	}{
		{"as before", control.Limits{MinWorkers: 1, MaxWorkers: 9, MinIdle: 0, MaxIdle: 2}, was,
			control.Limits{MinWorkers: 1, MaxWorkers: 9, MinIdle: 0, MaxIdle: 2}, "are kept", "dropped"},
		{"others were edited", control.Limits{MinWorkers: 1, MaxWorkers: 9, MinIdle: 0, MaxIdle: 2}, control.Limits{MinWorkers: 2, MaxWorkers: 5, MinIdle: 1, MaxIdle: 3},
			control.Limits{MinWorkers: 2, MaxWorkers: 9, MinIdle: 1, MaxIdle: 3}, "are kept", "dropped"},
		{"the configuration says the same now", control.Limits{MinWorkers: 1, MaxWorkers: 9, MinIdle: 0, MaxIdle: 2}, control.Limits{MinWorkers: 1, MaxWorkers: 9, MinIdle: 0, MaxIdle: 2},
			control.Limits{MinWorkers: 1, MaxWorkers: 9, MinIdle: 0, MaxIdle: 2}, "", "run time"},
		{"none", was, was, was, "", "run time"},
		{"impossible", control.Limits{MinWorkers: 1, MaxWorkers: 4, MinIdle: 3, MaxIdle: 3}, control.Limits{MinWorkers: 0, MaxWorkers: 1, MinIdle: 0, MaxIdle: 1},
			control.Limits{MinWorkers: 0, MaxWorkers: 1, MinIdle: 0, MaxIdle: 1}, "are dropped", "are kept"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := &safeBuffer{}
			kept := crashed(t, func(r *record.Record) { r.SetLimits(tt.set, was) })
			l := bare(kept, tt.now, log)
			l.takeUp()
			if l.limits.Now != tt.want {
				t.Errorf("limits %+v, want %+v", l.limits.Now, tt.want)
			}
			if !strings.Contains(log.String(), tt.wantLog) || strings.Contains(log.String(), tt.wantNone) {
				t.Errorf("it logs %s", log)
			}
			if got := nextReads(t, kept, "wiki").Limits.Apply(tt.now); got != tt.want {
				t.Errorf("the record says %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestPauseOutlivesACrashUntilItsTime(t *testing.T) {
	now := record.BootTime()
	for _, tt := range []struct {
		name   string
		write  func(*record.Record)
		paused bool
		resume bool
	}{
		{"none", (*record.Record).SetUnpaused, false, false},
		{"without a limit", func(r *record.Record) { r.SetPause(0) }, true, false},
		{"with an hour to go", func(r *record.Record) { r.SetPause(now + time.Hour) }, true, true},
		{"over", func(r *record.Record) { r.SetPause(now - 1) }, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kept := crashed(t, tt.write)
			l := bare(kept, control.Limits{MaxWorkers: 1}, io.Discard)
			l.takeUp()
			if l.intake.Paused != tt.paused || (l.alarms[resumeDue] > 0) != tt.resume {
				t.Errorf("paused %v until %v", l.intake.Paused, l.alarms[resumeDue])
			}
			if tt.resume && (l.alarms[resumeDue]-l.now > time.Hour || l.alarms[resumeDue]-l.now < 59*time.Minute) {
				t.Errorf("it resumes in %v", l.alarms[resumeDue]-l.now)
			}
			if got := nextReads(t, kept, "wiki"); got.Paused != tt.paused || (got.Resume > 0) != tt.resume {
				t.Errorf("the record says %+v", got)
			}
		})
	}
}

// Whatever lies in a record: it is refused, or what comes of it is a pool that
// runs, whose own record would be believed.
func FuzzRecord(f *testing.F) {
	limits := func(r *record.Record) {
		r.SetLimits(control.Limits{MinWorkers: 1, MaxWorkers: 9, MaxIdle: 3}, control.Limits{})
		r.SetPause(record.BootTime() + time.Hour)
	}
	forever := func(r *record.Record) { r.SetPause(0); r.SetAtRisk(1 << 29) }
	for _, write := range []func(*record.Record){limits, forever} {
		b := make([]byte, 4096)
		if _, err := unix.Pread(crashed(f, write).FD(), b, 0); err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("scgidrec"))
	configured := control.Limits{MinWorkers: 1, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4}
	f.Fuzz(func(t *testing.T, b []byte) {
		kept, err := record.Open(sealedPage(t, b), "wiki")
		if err != nil {
			return
		}
		defer kept.Close()
		l := bare(kept, configured, io.Discard)
		l.takeUp()
		if err := l.limits.Now.Validate(); err != nil {
			t.Errorf("limits: %v", err)
		}
		if l.alarms[resumeDue] < 0 || l.alarms[resumeDue] > 0 && !l.intake.Paused {
			t.Errorf("paused %v until %v", l.intake.Paused, l.alarms[resumeDue])
		}
		if after := nextReads(t, kept, "wiki"); after == nil || after.AtRisk != 0 {
			t.Errorf("it leaves %+v", after)
		}
	})
}

// sealedPage is a file in memory as a record's, with b in it.
func sealedPage(t *testing.T, b []byte) int {
	t.Helper()
	fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Pwrite(fd, append(b, make([]byte, max(0, 4096-len(b)))...)[:4096], 0); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		t.Fatal(err)
	}
	return fd
}
