package report

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// colours are the same for a server in every plot.
var colours = map[string]string{
	"tafe": "#d1400b", "tafe-yield": "#e88b00", "tafe-offload": "#8c2d04", "nethttp": "#1f5fd0", "fasthttp": "#0a8754",
	"gnet": "#0891b2", "climit": "#8a8a8a", "hertz": "#b8327a", "nbio": "#7a6a00", "gevent": "#7034c8", "apache": "#5b6470",
	"nginx": "#2f9e44", "haproxy": "#274690",
	"h2o": "#c2255c", "gorilla": "#0b7285", limitFIFO: "#555555", limitLight: "#999999",
}

func colour(peer string) string {
	if c := colours[peer]; c != "" {
		return c
	}
	return "#444444"
}

// drawing is an SVG picture under construction.
type drawing struct {
	strings.Builder
}

func newDrawing(width, height int, label string) *drawing {
	d := &drawing{}
	fmt.Fprintf(d, `<svg viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`, width, height, width, height,
		template.HTMLEscapeString(label))
	return d
}

func (d *drawing) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(d, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`, x1, y1, x2, y2, class)
}

func (d *drawing) text(x, y float64, anchor, class, s string) {
	fmt.Fprintf(d, `<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`, x, y, anchor, class, template.HTMLEscapeString(s))
}

func (d *drawing) label(x, y float64, colour, s string) {
	fmt.Fprintf(d, `<text x="%.1f" y="%.1f" class="label" style="fill:%s">%s</text>`, x, y, colour, template.HTMLEscapeString(s))
}

func (d *drawing) rect(x, y, w, h float64, fill, title string) {
	fmt.Fprintf(d, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" style="fill:%s"><title>%s</title></rect>`, x, y, w, h, fill,
		template.HTMLEscapeString(title))
}

// path draws a polyline.
func (d *drawing) path(points [][2]float64, colour, stroke, title string) {
	fmt.Fprintf(d, `<polyline style="stroke:%s;%s" class="curve" points="`, colour, stroke)
	for _, p := range points {
		fmt.Fprintf(d, "%.1f,%.1f ", p[0], p[1])
	}
	fmt.Fprintf(d, `"><title>%s</title></polyline>`, template.HTMLEscapeString(title))
}

func (d *drawing) done() template.HTML {
	d.WriteString("</svg>")
	return template.HTML(d.String()) //nolint:gosec // built from numbers and escaped text
}

// logTicks are 1, 2 and 5 times powers of ten within [from, to].
func logTicks(from, to float64) (ticks []float64) {
	for e := math.Floor(math.Log10(from)); e <= math.Ceil(math.Log10(to)); e++ {
		for _, m := range []float64{1, 2, 5} {
			if t := m * math.Pow(10, e); t >= from*0.999 && t <= to*1.001 {
				ticks = append(ticks, t)
			}
		}
	}
	return ticks
}

// apart moves labels so that no two are closer than gap; positions must be sorted and are changed in place.
func apart(ys []float64, gap, bottom float64) {
	for i := 1; i < len(ys); i++ {
		ys[i] = max(ys[i], ys[i-1]+gap)
	}
	limit := bottom
	for i := len(ys) - 1; i >= 0; i-- {
		ys[i] = min(ys[i], limit)
		limit = ys[i] - gap
	}
}

// duration writes microseconds in the unit that fits.
func duration(micros float64) string {
	switch {
	case micros >= 1e6:
		return trim(micros/1e6) + " s"
	case micros >= 1e3:
		return trim(micros/1e3) + " ms"
	default:
		return trim(micros) + " µs"
	}
}

// trim writes three significant digits.
func trim(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	default:
		return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
	}
}
