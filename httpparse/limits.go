package httpparse

// This file owns the bounds of a message. It refuses to know who configures them.

// Limits bounds what a peer can make us keep or count. Every bound is taken literally, zero included; a Limits is only
// read, so one value may serve any number of parsers and goroutines. Where a *Limits is nil, DefaultLimits applies.
type Limits struct {
	HeadBytesMax     int   // start line, fields and the empty line, in bytes; beyond: 431
	HeaderCountMax   int   // field lines in a head, or in a trailer section; beyond: 431
	TargetBytesMax   int   // request target, in bytes; beyond: 414
	BodyBytesMax     int64 // body in bytes after decoding, declared or seen; beyond: 413
	ChunkOverheadMax int   // bytes of chunk-size lines beyond what the data itself justifies; beyond: 400
	TrailerBytesMax  int   // trailer section, in bytes; beyond: 431
}

// DefaultLimits returns the bounds that hold where nobody chose others.
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
