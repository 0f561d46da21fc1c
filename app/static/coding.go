// Selection between a file and its precompressed variants (RFC 9110 section 12.5.3).

package static

import "tafe/httpparse"

// suffix returns the file name suffix of a coding.
func suffix(k httpparse.Coding) string { return [...]string{".zst", ".br", ".gz", ""}[k] }

// choose returns the variant with the highest weight, and the smallest of those with equal weight. It returns the
// file itself without Accept-Encoding or if no existing variant is acceptable.
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
