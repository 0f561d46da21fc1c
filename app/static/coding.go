// This file owns the choice between a file and its compressed siblings (RFC 9110 section 12.5.3).

package static

import "tafe/httpparse"

// suffix is that of siblings with a coding.
func suffix(k httpparse.Coding) string { return [...]string{".zst", ".br", ".gz", ""}[k] }

// choose picks what to send of a: the coding of the greatest weight, among equals the smallest file. Without the header, and
// where nothing that is there is acceptable, it is the file itself.
func (a *asset) choose(k *conditions) *variant {
	best := a.variants[httpparse.Identity]
	if !a.coded || !k.encodings {
		return best
	}
	w := httpparse.ParseAcceptEncoding(k.acceptEncoding)
	weight := w[httpparse.Identity]
	for i := range httpparse.Identity {
		if v := a.variants[i]; v != nil && (w[i] > weight || w[i] == weight && weight > 0 && v.size < best.size) {
			best, weight = v, w[i]
		}
	}
	return best
}
