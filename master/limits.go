package master

import (
	"fmt"

	"github.com/scgid/scgid/control"
	"github.com/scgid/scgid/master/pool"
)

// A limits drawer has the sizes of the pool.
type limits struct {
	Now        control.Limits // in effect
	Configured control.Limits // without what was set at run time
	Scaled     control.Change // what was set at run time

	Concurrency pool.Concurrency // for MaxBusy=auto
	Told        int              // the limit that an event told of last; 0 is none
	ToldAt      Time

	// Of the last look at the busy workers, until the next.
	old  int // had been at the same request for long, and do not count
	room int // requests that may be passed on beyond the limit
	next int // where the next look begins, in workers.all
}

// configure takes the limits of a configuration; what was set at run time stays
// over them. An error says why it could not: it is dropped then.
func (s *limits) configure(configured control.Limits) error {
	s.Configured = configured
	now := s.Scaled.Apply(configured)
	if err := now.Validate(); err != nil {
		s.Now, s.Scaled = configured, control.Change{}
		return err
	}
	s.Now = now
	return nil
}

// change sets limits at run time. It says whether anything has changed; an
// error leaves all as it was.
func (s *limits) change(c control.Change) (changed bool, err error) {
	base, scaled := s.Now, s.Scaled
	if c.Reset {
		base, scaled = s.Configured, control.Change{}
	}
	now, was := c.Apply(base), s.isScaled()
	if err := now.Validate(); err != nil {
		return false, err
	}
	changed = now != s.Now
	s.Now, s.Scaled = now, scaled.Over(c)
	return changed || s.isScaled() != was, nil
}

// isScaled says whether a limit was set at run time, be it to what it was: such
// a one is kept when the configuration changes.
func (s *limits) isScaled() bool { return s.Scaled != control.Change{} }

// show puts the limit that a setting of [Pool] names into it, if that was set at
// run time.
func (s *limits) show(setting *control.Setting) {
	for _, limit := range [...]struct {
		key             string
		now, configured int
		by              *int
	}{
		{"MinWorkers", s.Now.MinWorkers, s.Configured.MinWorkers, s.Scaled.MinWorkers},
		{"MaxWorkers", s.Now.MaxWorkers, s.Configured.MaxWorkers, s.Scaled.MaxWorkers},
		{"MinIdle", s.Now.MinIdle, s.Configured.MinIdle, s.Scaled.MinIdle},
		{"MaxIdle", s.Now.MaxIdle, s.Configured.MaxIdle, s.Scaled.MaxIdle},
	} {
		if limit.key == setting.Key && (limit.by != nil || limit.now != limit.configured) {
			setting.Value, setting.Origin = fmt.Sprint(limit.now), "set at run time"
		}
	}
	if setting.Key == "MaxBusy" && s.Scaled.MaxBusy != nil {
		setting.Value, setting.Origin = s.Now.MaxBusy.String(), "set at run time"
	}
}
