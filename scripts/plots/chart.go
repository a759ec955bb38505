package main

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// chart is what charts.json says of one.
type chart struct {
	Name   string  `json:"name"` // of the files
	Title  string  `json:"title"`
	X      string  `json:"x"` // the axis' label
	LogX   bool    `json:"log_x"`
	Panels []panel `json:"panels"` // from top to bottom
}

type panel struct {
	Y      string   `json:"y"`
	LogY   bool     `json:"log_y"`
	Series []series `json:"series"`
}

type series struct {
	Name  string            `json:"name"`
	File  string            `json:"file"`
	X     string            `json:"x"` // columns
	Y     string            `json:"y"`
	Where map[string]string `json:"where"`
	Style string            `json:"style"` // "line" (default), "steps", "points", "both"
	Dash  bool              `json:"dash"`
}

const (
	width       = 18 * vg.Centimeter
	panelHeight = 6 * vg.Centimeter
	pngDPI      = 150
)

// colors are told apart by people who do not see all of them (Okabe and Ito).
var colors = []color.Color{
	color.RGBA{0x00, 0x72, 0xB2, 0xFF}, color.RGBA{0xD5, 0x5E, 0x00, 0xFF}, color.RGBA{0x00, 0x9E, 0x73, 0xFF}, color.RGBA{0xCC, 0x79, 0xA7, 0xFF},
	color.RGBA{0xE6, 0x9F, 0x00, 0xFF}, color.RGBA{0x56, 0xB4, 0xE9, 0xFF}, color.RGBA{0x00, 0x00, 0x00, 0xFF},
}

// draw writes the chart's files.
func (c *chart) draw(dir string, tables map[string]*table) error {
	if len(c.Panels) == 0 {
		return errors.New("it has no panel")
	}
	plots := make([][]*plot.Plot, len(c.Panels))
	for i := range c.Panels {
		p, err := c.plot(i, dir, tables)
		if err != nil {
			return err
		}
		plots[i] = []*plot.Plot{p}
	}
	shareX(plots)
	height := panelHeight * vg.Length(len(plots))
	tiles := draw.Tiles{Rows: len(plots), Cols: 1, PadY: 2 * vg.Millimeter, PadTop: vg.Millimeter, PadBottom: vg.Millimeter, PadLeft: vg.Millimeter, PadRight: 3 * vg.Millimeter}
	svg := vgsvg.New(width, height)
	paint(draw.New(svg), tiles, plots)
	png := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(pngDPI))}
	paint(draw.New(png), tiles, plots)
	return errors.Join(write(filepath.Join(dir, c.Name+".svg"), svg.WriteTo), write(filepath.Join(dir, c.Name+".png"), png.WriteTo))
}

// shareX gives all panels the same x axis.
func shareX(plots [][]*plot.Plot) {
	x := plots[0][0].X
	for _, row := range plots[1:] {
		x.Min, x.Max = min(x.Min, row[0].X.Min), max(x.Max, row[0].X.Max)
	}
	for _, row := range plots {
		row[0].X.Min, row[0].X.Max = x.Min, x.Max
	}
}

func paint(c draw.Canvas, tiles draw.Tiles, plots [][]*plot.Plot) {
	for i, row := range plot.Align(plots, tiles, c) {
		plots[i][0].Draw(row[0])
	}
}

// plot makes panel i.
func (c *chart) plot(i int, dir string, tables map[string]*table) (*plot.Plot, error) {
	p := plot.New()
	panel := c.Panels[i]
	if i == 0 {
		p.Title.Text = c.Title
	}
	if i == len(c.Panels)-1 {
		p.X.Label.Text = c.X
	}
	p.Y.Label.Text = panel.Y
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Millimeter
	p.Add(plotter.NewGrid())
	drawn := 0
	for k, s := range panel.Series {
		t := tables[s.File]
		if t == nil {
			var err error
			if t, err = readTable(dir, s.File); err != nil {
				return nil, err
			}
			tables[s.File] = t
		}
		points, err := t.points(s, panel.LogY)
		if err != nil {
			return nil, err
		}
		if len(points) == 0 {
			continue // an experiment that was cut short
		}
		drawn++
		if err := s.add(p, points, colors[k%len(colors)]); err != nil {
			return nil, fmt.Errorf("series %q: %w", s.Name, err)
		}
	}
	if drawn == 0 {
		return nil, fmt.Errorf("there is nothing to draw in the panel %q", panel.Y)
	}
	if c.LogX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	switch {
	case panel.LogY:
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	default:
		p.Y.Min = min(p.Y.Min, 0)
		p.Y.Max *= 1.1 // room for the legend
	}
	return p, nil
}

// add draws a series and names it in the legend.
func (s *series) add(p *plot.Plot, points plotter.XYs, c color.Color) error {
	var shown []plot.Thumbnailer
	if s.Style != "points" {
		line, err := plotter.NewLine(points)
		if err != nil {
			return err
		}
		line.Color, line.Width = c, vg.Points(1.2)
		if s.Style == "steps" {
			line.StepStyle = plotter.PostStep
		}
		if s.Dash {
			line.Dashes = []vg.Length{vg.Points(4), vg.Points(2)}
		}
		p.Add(line)
		shown = append(shown, line)
	}
	if s.Style == "points" || s.Style == "both" {
		dots, err := plotter.NewScatter(points)
		if err != nil {
			return err
		}
		dots.Color, dots.Shape, dots.Radius = c, draw.CircleGlyph{}, vg.Points(2.2)
		p.Add(dots)
		shown = append(shown, dots)
	}
	if s.Name != "" {
		p.Legend.Add(s.Name, shown...)
	}
	return nil
}

func write(name string, to func(io.Writer) (int64, error)) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = to(f)
	return errors.Join(err, f.Close())
}
