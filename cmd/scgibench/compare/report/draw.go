package report

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"github.com/scgid/scgid/cmd/scgibench/compare"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// A chart is bars in groups: one group for each place on the axis, one bar for
// each server in it.
type chart struct {
	file   string // without its directory
	title  string
	unit   string
	groups []string
	series []series
}

type series struct {
	name   string
	values []float64 // one for each group; 0 where there is none
}

// Draw writes an SVG into dir for each question that the report has figures
// for. It makes dir when that does not exist.
func Draw(dir string, r *compare.Report) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, c := range charts(r) {
		if err := c.draw(dir, r); err != nil {
			return fmt.Errorf("cannot draw %s: %w", c.file, err)
		}
	}
	return nil
}

// colours are those of Okabe and Ito, that most people can tell apart.
var colours = []color.RGBA{
	{0, 114, 178, 255}, {230, 159, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255},
	{86, 180, 233, 255}, {213, 94, 0, 255}, {120, 120, 120, 255}, {240, 228, 66, 255},
}

func (c *chart) draw(dir string, r *compare.Report) error {
	p := plot.New()
	p.Title.Text = c.title
	p.Y.Label.Text = c.unit
	p.Y.Min = 0
	p.X.Label.Text = fmt.Sprintf("%s form, %s, %d CPUs, %s", r.Form, r.Began.Format("2006-01-02"), r.Machine.CPUs, r.Machine.Model)
	p.Add(plotter.NewGrid())
	p.Legend.Top, p.Legend.Padding = true, vg.Points(2)
	width := vg.Points(max(3, min(16, 480/float64(len(c.groups)*(len(c.series)+1)))))
	for i, s := range c.series {
		bars, err := plotter.NewBarChart(plotter.Values(s.values), width)
		if err != nil {
			return err
		}
		bars.Color = colours[i%len(colours)]
		bars.LineStyle.Width = 0
		bars.Offset = width * vg.Length(float64(i)-float64(len(c.series)-1)/2)
		p.Add(bars)
		p.Legend.Add(s.name, bars)
	}
	p.NominalX(c.groups...)
	p.Y.Max *= 1.3 // for the legend
	return p.Save(26*vg.Centimeter, 14*vg.Centimeter, filepath.Join(dir, c.file+".svg"))
}
