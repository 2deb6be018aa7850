package api

import (
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
	known, err := s.public.Read(c.r.Context(), s.pool)
	if err != nil {
		return err
	}
	return c.reply(known)
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
