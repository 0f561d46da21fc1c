package report

import (
	"fmt"
	"html/template"

	"tafe/bench/run"
)

const (
	barWidth, barLeft, barRight = 640, 96, 150
	barRow                      = 24
)

// bars draws a figure of each peer: the median, with least and most as a whisker.
func bars(title, unit string, groups []Group, figure func(run.Sample) float64) template.HTML {
	height := 34 + barRow*len(groups)
	d := newDrawing(barWidth, height, title)
	most := 0.0
	spreads := make([]Spread, len(groups))
	for i, g := range groups {
		spreads[i] = g.Of(figure)
		most = max(most, spreads[i].Max)
	}
	d.text(barLeft, 18, "start", "title", title)
	scale := float64(barWidth-barLeft-barRight) / max(most, 1e-9)
	for i, g := range groups {
		y := float64(28 + barRow*i)
		s := spreads[i]
		d.text(barLeft-8, y+14, "end", "tick", g.Peer)
		d.rect(barLeft, y+3, s.Median*scale, barRow-8, colour(g.Peer), fmt.Sprintf("%s: %s %s", g.Peer, trim(s.Median), unit))
		mid := y + 3 + (barRow-8)/2.0
		d.line(barLeft+s.Min*scale, mid, barLeft+s.Max*scale, mid, "whisker")
		d.text(barLeft+s.Max*scale+6, y+14, "start", "tick", fmt.Sprintf("%s  (%s to %s)", trim(s.Median)+unit, trim(s.Min), trim(s.Max)))
	}
	return d.done()
}
