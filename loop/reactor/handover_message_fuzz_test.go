package reactor

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
	"testing/iotest"
)

// FuzzMessage checks that a message reads the same in one piece and byte by byte,
// without a panic, and that an accepted message is the same after appendMessage and
// readMessage.
func FuzzMessage(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := bytes.NewReader(b)
		m, err := readMessage(whole)
		pieces := bytes.NewReader(b)
		again, err2 := readMessage(iotest.OneByteReader(pieces))
		if (err == nil) != (err2 == nil) || !reflect.DeepEqual(m, again) || whole.Len() != pieces.Len() {
			t.Fatalf("%+v (%v) in one piece, %+v (%v) byte by byte", m, err, again, err2)
		}
		if err != nil {
			return
		}
		encoded, err := appendMessage(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		r := bytes.NewReader(encoded)
		if again, err = readMessage(r); err != nil || r.Len() != 0 || !sameMessage(m, again) {
			t.Fatalf("%+v becomes %+v (%v), %d bytes left", m, again, err, r.Len())
		}
		if _, err := readMessage(bytes.NewReader(encoded[:len(encoded)-1])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("a message without its last byte: %v", err)
		}
	})
}

// sameMessage compares messages, with nil and empty lists of names as equal.
func sameMessage(a, b handoverMessage) bool {
	if len(a.Names) == 0 && len(b.Names) == 0 {
		a.Names, b.Names = nil, nil
	}
	return reflect.DeepEqual(a, b)
}
