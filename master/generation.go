package master

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/process"
	"github.com/scgid/scgid/worker/scgi"
)

// A generation is one configuration and the directory that it led to: all
// workers of a generation run the same code.
type generation struct {
	number int
	set    Settings

	// proven says that one of its workers has been ready. From then on dir is
	// where all are started: a link to the current release is followed once.
	// Before, each attempt follows it anew, so that a mended release is found.
	proven bool
	dir    string
}

// place puts a command where the generation runs: in its directory, and with
// those of its words that lie below the directory's name there, too.
func (g *generation) place() (process.Command, error) {
	c := g.set.Command
	name, dir := c.Dir, g.dir
	if name == "" {
		return c, nil
	}
	if !g.proven {
		var err error
		if dir, err = filepath.EvalSymlinks(name); err != nil {
			return c, fmt.Errorf("cannot enter the working directory %s: %w", name, err)
		}
	}
	c.Dir = dir
	c.Argv = append([]string(nil), c.Argv...)
	for i, word := range c.Argv {
		if rest, ok := strings.CutPrefix(word, strings.TrimSuffix(name, "/")+"/"); ok {
			c.Argv[i] = filepath.Join(dir, rest)
		}
	}
	return c, nil
}

// prove notes that w, the first of its generation or one more, is ready. It
// returns false for one that was started elsewhere than the first: the link
// was changed while both were on their way.
func (g *generation) prove(w *worker) bool {
	if !g.proven {
		g.proven, g.dir = true, w.dir
	}
	return w.dir == g.dir
}

// newGeneration makes the next one of these settings. Nobody uses it until
// adopt.
func (l *loop) newGeneration(set Settings) *generation {
	l.lastGeneration++
	return &generation{number: l.lastGeneration, set: l.keep(set)}
}

// keep returns set with what does not change while the master lives.
func (l *loop) keep(set Settings) Settings {
	now := &l.set
	set.Name, set.PID, set.Version, set.Build = now.Name, now.PID, now.Version, now.Build
	set.LogLevel, set.Journal, set.Watchdog, set.Reread = now.LogLevel, now.Journal, now.Watchdog, now.Reread
	set.Record, set.Groups = now.Record, now.Groups
	set.Command = baseCommand(set)
	return set
}

// adopt makes g the generation that serves: its settings hold, and it is what
// workers are started of. Those of others are replaced, see roll.go.
func (l *loop) adopt(g *generation) {
	if l.current.proven {
		l.previous = l.current
	}
	l.current, l.set = g, g.set
	l.configured = g.set.Limits
	l.set.Limits = l.scaledOver(g.set.Limits)
	l.keepRecord()
	if need := bufferFor(l.set); need > len(l.buf) {
		l.buf = make([]byte, need)
	}
	// Who has failed is not to be held against the new ones.
	l.failures, l.failuresBefore, l.retryAt = 0, 0, 0
	for _, w := range l.workers {
		if w != nil && w.state == starting && w.of != g {
			l.discard(w)
		}
	}
	l.beginRoll()
}

// scaledOver returns a configuration's limits with what was set at run time.
func (l *loop) scaledOver(configured control.Limits) control.Limits {
	limits := l.scaled.Apply(configured)
	if err := limits.Validate(); err != nil {
		l.log.warn("limits set at run time do not fit the new configuration, which holds now: " + err.Error())
		l.scaled = control.Change{}
		return configured
	}
	return limits
}

// bufferFor is the size of the buffer that takes the largest header.
func bufferFor(set Settings) int { return max(set.MaxHeader, scgi.DefaultMaxHeader) + 16 }

// discard ends a worker that has never served anybody and is not needed.
func (l *loop) discard(w *worker) {
	l.log.debug("a worker is not needed any more", "worker", w.id)
	l.enter(w, killed)
	if w.proc.PID != 0 {
		w.proc.KillGroup()
	}
}

// lookEvery is the pause between two looks at where the directory of an
// application that does not start leads.
const lookEvery = time.Second

// watchRelease has the back-off end early when the link to the release has
// been changed: somebody mended it.
func (l *loop) watchRelease(tried string) {
	if l.current.proven || l.current.set.Command.Dir == "" {
		return
	}
	l.tried = tried
	if l.lookAt == 0 {
		l.lookAt = l.now + lookEvery
	}
}

// lookAtRelease looks once, outside the loop.
func (l *loop) lookAtRelease() {
	l.lookAt = 0
	g, name, box := l.current, l.current.set.Command.Dir, l.box
	if l.failures == 0 || g.proven {
		return
	}
	go func() {
		dir, err := filepath.EvalSymlinks(name)
		box.post(func(l *loop) {
			if l.current != g || l.failures == 0 {
				return
			}
			if err == nil && dir != l.tried {
				l.log.info("the working directory leads elsewhere now, trying again at once", "directory", dir)
				l.failures, l.failuresBefore, l.retryAt = 0, 0, 0
				return
			}
			l.lookAt = l.now + lookEvery
		})
	}()
}
