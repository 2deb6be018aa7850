package master

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/scgid/scgid/master/process"
)

// A generation is one configuration and the directory that it led to: all
// workers of a generation run the same code.
type generation struct {
	generationFacts
	set     Settings
	preload preload
}

// generationFacts are what the next program needs to know of a generation,
// beside its settings.
type generationFacts struct {
	Number int

	// Proven says that one of its workers has been ready. From then on Dir is
	// where all are started: a link to the current release is followed once.
	// Before, each attempt follows it again, so that a mended release is found.
	Proven bool
	Dir    raw

	Serves bool // one of its workers has served a connection

	Preload preloadFacts
}

// place puts a command where the generation runs: in its directory, and with
// those of its words that lie below the directory's name there, too.
func (g *generation) place() (process.Command, error) {
	c := g.set.Command
	name, dir := c.Dir, string(g.Dir)
	if name == "" {
		return c, nil
	}
	if !g.Proven {
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
	if !g.Proven {
		g.Proven, g.Dir = true, w.Dir
	}
	return w.Dir == g.Dir
}

// A generations drawer has what workers are started from.
type generations struct {
	current    *generation // serves
	previous   *generation // served before, and had been ready; nil without one
	canary     *worker     // does not serve yet; nil without one
	roll       *roll       // nil while no worker is to be replaced
	LastNumber int
}

// add makes the next generation, of these settings. Nobody uses it until adopt.
func (s *generations) add(set Settings) *generation {
	s.LastNumber++
	g := &generation{generationFacts: generationFacts{Number: s.LastNumber}, set: set}
	if set.Preload != preloadNo {
		g.Preload.Level = set.Preload
	}
	return g
}

// set are the settings of the generation that serves.
func (l *loop) set() *Settings { return &l.gens.current.set }

// adopt makes g the generation that serves: its settings hold, and it is what
// workers are started from. Those of others are replaced, see roll.go.
func (l *loop) adopt(g *generation) {
	if l.gens.current.Proven {
		l.gens.previous = l.gens.current
	}
	l.gens.current = g
	if err := l.limits.configure(g.set.Limits); err != nil {
		l.log.Warn("limits set at run time do not fit the new configuration, which holds now: " + err.Error())
	}
	l.keepRecord()
	l.conns.grow(&g.set)
	l.backoff.reset() // what has failed is not to be held against the new ones
	for _, w := range l.workers.all {
		if w != nil && w.State == starting && w.of != g {
			l.discard(w)
		}
	}
	l.beginRoll()
}

// lookEvery is the pause between two looks at where the directory of an
// application that does not start leads.
const lookEvery = time.Second

// watchRelease has the back-off end early when the link to the release has
// been changed: somebody mended it.
func (l *loop) watchRelease(tried string) {
	if l.gens.current.Proven || l.set().Command.Dir == "" {
		return
	}
	l.backoff.Tried = raw(tried)
	if l.alarms[releaseDue] == 0 {
		l.alarms[releaseDue] = l.now + lookEvery
	}
}

// lookAtRelease looks once, outside the loop.
func (l *loop) lookAtRelease() {
	g, name, box := l.gens.current, l.set().Command.Dir, l.box
	if l.backoff.Failures == 0 || g.Proven {
		return
	}
	go func() {
		dir, err := filepath.EvalSymlinks(name)
		box.post(func(l *loop) { l.releaseSeen(g, dir, err) })
	}()
}

// releaseSeen takes where the directory of g leads now.
func (l *loop) releaseSeen(g *generation, dir string, err error) {
	switch {
	case l.gens.current != g || l.backoff.Failures == 0:
	case err == nil && raw(dir) != l.backoff.Tried:
		l.log.Info("the working directory leads elsewhere now, trying again at once", "directory", dir)
		l.backoff.reset()
	default:
		l.alarms[releaseDue] = l.now + lookEvery
	}
}
