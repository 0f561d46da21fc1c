// Bounds of a message.

package httpparse

// Limits bounds the memory and work that a peer can cause. Every bound applies as it is, including 0. A Limits is
// only read, so one value can be shared. A nil *Limits means DefaultLimits. The options above this package replace zeros:
// app.Options each zero field, client.Options a Limits that is zero as a whole.
type Limits struct {
	HeadBytesMax     int   // start line, fields and empty line, in bytes; else 431
	HeaderCountMax   int   // field lines in a head or in a trailer section; else 431
	TargetBytesMax   int   // request target, in bytes; else 414
	BodyBytesMax     int64 // decoded body, in bytes, declared or received; else 413
	ChunkOverheadMax int   // bytes of chunk extensions, beyond 16 for each chunk and twice the size of its data; else 400
	TrailerBytesMax  int   // trailer section, in bytes; else 431
}

// DefaultLimits returns the default bounds.
func DefaultLimits() Limits {
	return Limits{
		HeadBytesMax:     32 << 10,
		HeaderCountMax:   100,
		TargetBytesMax:   8 << 10,
		BodyBytesMax:     10 << 20,
		ChunkOverheadMax: 16 << 10,
		TrailerBytesMax:  8 << 10,
	}
}

var defaultLimits = DefaultLimits()

func (l *Limits) orDefault() *Limits {
	if l == nil {
		return &defaultLimits
	}
	return l
}
