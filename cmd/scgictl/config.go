package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scgid/scgid/control"
)

func configCommand(c *ctl) *cobra.Command {
	return c.poolCommand(poolVerb{
		verb:  "config",
		short: "Show the configuration in effect",
		long:  "config shows the configuration in effect, and where each value comes from: a\nfile with its line, --set, the command line, a change at run time, or the default.",
		run: func(ctx context.Context, t *target, _ []string) error {
			ctx, cancel := soon(ctx)
			defer cancel()
			settings, err := t.Config(ctx)
			if err != nil {
				return err
			}
			return c.show(some(settings), func(s *screen) { s.settings(settings) })
		},
	})
}

// settings prints sections in the order in which they come, as a file would
// have them, with the origin behind. Nothing is cut.
func (s *screen) settings(settings []control.Setting) {
	const mostColumns = 60 // longer lines have their origin where they end
	width := 0
	for _, x := range settings {
		if w := textWidth(s.clean(settingLine(x))); w <= mostColumns {
			width = max(width, w)
		}
	}
	for len(settings) > 0 {
		section := settings[0].Section
		s.line(span{bold, "[" + section + "]"})
		for len(settings) > 0 && settings[0].Section == section {
			line, origin := settingLine(settings[0]), settings[0].Origin
			look := plain
			if origin == "default" {
				look = dim
			}
			blanks := strings.Repeat(" ", max(width-textWidth(s.clean(line)), 0))
			s.line(span{look, line}, blanks, span{dim, "  # " + origin})
			settings = settings[1:]
		}
		if len(settings) > 0 {
			s.line()
		}
	}
}

func settingLine(x control.Setting) string { return x.Key + "=" + x.Value }
