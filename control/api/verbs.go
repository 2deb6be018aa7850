package api

import (
	"context"
	"sync"
	"time"

	"github.com/scgid/scgid/control"
)

// serveReading answers GET: a verb without arguments that changes nothing.
func (s *Server) serveReading(c *call, v *control.Verb) error {
	if v.Name == "status" && c.has == control.LevelName {
		return s.serveName(c)
	}
	if err := c.allow(control.LevelRead, v); err != nil {
		return err
	}
	result, err := v.Call(c.r.Context(), s.pool, nil)
	if err != nil {
		return err
	}
	return c.reply(emptyForNil(result))
}

// serveName answers status for those who may see no more than this.
func (s *Server) serveName(c *call) error {
	told, err := s.brief.read(c.r.Context(), s.pool)
	if err != nil {
		return err
	}
	return c.reply(told)
}

// A brief is what everybody may know. It is read seldom, however often they
// ask: those who may know no more shall not keep the master busy.
type brief struct {
	mu   sync.Mutex
	at   time.Time
	told nameAndState
}

type nameAndState struct {
	Name  string `json:"name"`
	State string `json:"state"`
}

func (b *brief) read(ctx context.Context, p control.Pool) (nameAndState, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.at.IsZero() && time.Since(b.at) < briefTime {
		return b.told, nil
	}
	status, err := p.Status(ctx)
	if err != nil {
		return nameAndState{}, err
	}
	b.at, b.told = time.Now(), nameAndState{status.Name, status.State}
	return b.told, nil
}

// serveVerb answers POST: a verb with the arguments in the body.
func (s *Server) serveVerb(c *call, v *control.Verb) error {
	if err := c.allow(v.Level, v); err != nil {
		return err
	}
	body, err := c.body()
	if err != nil {
		return err
	}
	args, err := v.Parse(body)
	if err != nil {
		return err
	}
	result, err := v.Do(c.r.Context(), s.pool, args, "control", c.who, s.log)
	if err != nil {
		return err
	}
	return c.reply(emptyForNil(result))
}

// emptyForNil makes the reply of a verb that returns nothing an object.
func emptyForNil(result any) any {
	if result == nil {
		return struct{}{}
	}
	return result
}

type verbInfo struct {
	Name  string    `json:"name"`
	Help  string    `json:"help"`
	Level string    `json:"level"`
	Args  []argInfo `json:"args"`
}

type argInfo struct {
	Name     string          `json:"name"`
	Type     control.ArgType `json:"type"`
	Required bool            `json:"required"`
	Help     string          `json:"help"`
}

// serveVerbs answers with the table of verbs. It is the same for everybody.
func (s *Server) serveVerbs(c *call) error {
	var table []verbInfo
	for _, v := range control.Verbs() {
		info := verbInfo{v.Name, v.Help, v.Level.String(), []argInfo{}}
		for _, a := range v.Args {
			info.Args = append(info.Args, argInfo{a.Name, a.Type, a.Required, a.Help})
		}
		table = append(table, info)
	}
	return c.reply(table)
}
