package master

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/scgid/scgid/control"
)

// bare is a loop that has only what takeUp needs.
func bare(t testing.TB, p *page, left *left, configured control.Limits, log io.Writer) *loop {
	l := &loop{log: newLogger(slog.New(slog.NewTextHandler(log, nil))), record: &Record{page: p, left: left}, configured: configured, now: time.Second}
	l.set.Limits, l.set.PID = configured, 4712
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
			p, log := runningPage(), &safeBuffer{}
			p.put(wordLimits, packLimits(tt.set, was))
			before, err := decode(&p, poolHash("wiki"))
			if err != nil {
				t.Fatal(err)
			}
			l := bare(t, &p, &before, tt.now, log)
			l.takeUp()
			l.log.close()
			if l.set.Limits != tt.want {
				t.Errorf("limits %+v, want %+v", l.set.Limits, tt.want)
			}
			if !strings.Contains(log.String(), tt.wantLog) || strings.Contains(log.String(), tt.wantNone) {
				t.Errorf("it logs %s", log)
			}
			if want := packLimits(tt.want, tt.now); p.get(wordLimits) != want {
				t.Errorf("the record says %#x, want %#x", p.get(wordLimits), want)
			}
		})
	}
}

func TestPauseOutlivesACrashUntilItsTime(t *testing.T) {
	now := uint64(bootTime())
	for _, tt := range []struct {
		name   string
		word   uint64
		paused bool
		resume bool
	}{
		{"none", unpaused, false, false},
		{"without a limit", forever, true, false},
		{"with an hour to go", now + uint64(time.Hour), true, true},
		{"over", now - 1, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := runningPage()
			p.put(wordPause, tt.word)
			before, err := decode(&p, poolHash("wiki"))
			if err != nil {
				t.Fatal(err)
			}
			l := bare(t, &p, &before, control.Limits{MaxWorkers: 1}, io.Discard)
			l.takeUp()
			l.log.close()
			if l.paused != tt.paused || (l.resumeAt > 0) != tt.resume {
				t.Errorf("paused %v until %v", l.paused, l.resumeAt)
			}
			if tt.resume && (l.resumeAt-l.now > time.Hour || l.resumeAt-l.now < 59*time.Minute) {
				t.Errorf("it resumes in %v", l.resumeAt-l.now)
			}
			if got := p.get(wordPause); (got != unpaused) != tt.paused || (got == forever) != (tt.paused && !tt.resume) {
				t.Errorf("the record says %d", got)
			}
		})
	}
}

// Whatever lies in a record: it is refused, or what comes of it is a pool that
// runs, whose own record would be believed.
func FuzzRecord(f *testing.F) {
	good := runningPage()
	good.put(wordLimits, packLimits(control.Limits{MinWorkers: 1, MaxWorkers: 9, MaxIdle: 3}, control.Limits{}))
	good.put(wordPause, uint64(bootTime()+time.Hour))
	f.Add(good.bytes())
	good.put(wordPause, forever)
	good.put(wordStake, 1<<29)
	f.Add(append([]byte(nil), good.bytes()...))
	f.Add([]byte("scgidrec"))
	configured := control.Limits{MinWorkers: 1, MaxWorkers: 8, MinIdle: 1, MaxIdle: 4}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p page
		copy(p.bytes(), b)
		before, err := decode(&p, poolHash("wiki"))
		if err != nil {
			return
		}
		l := bare(t, &p, &before, configured, io.Discard)
		l.takeUp()
		l.log.close()
		if err := l.set.Limits.Validate(); err != nil {
			t.Errorf("limits: %v", err)
		}
		if l.resumeAt < 0 || l.resumeAt > 0 && !l.paused {
			t.Errorf("paused %v until %v", l.paused, l.resumeAt)
		}
		if after, err := decode(&p, poolHash("wiki")); err != nil || after.state != recordRunning || after.stake != 0 {
			t.Errorf("it leaves %+v, %v", after, err)
		}
	})
}
