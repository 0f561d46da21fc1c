// Field sections that the peer writes: HPACK of x/net, with bounds on what one section may decode to. A section beyond
// them is still decoded, because the dynamic table must follow, up to a second bound that ends the connection.

package http2

import (
	"unsafe"

	"golang.org/x/net/http2/hpack"

	"tafe/httpparse"
)

const (
	tableBytes     = 4096 // SETTINGS_HEADER_TABLE_SIZE of this side: the default
	bombFactor     = 8    // a section may decode to this many times Limits.HeadBytesMax before the connection ends
	fieldOverhead  = 4    // ": " and CRLF, which a field would have in HTTP/1
	sectionKeptMax = 128  // fields whose array is kept
)

// decoder decodes the sections of one connection.
type decoder struct {
	shared       *Shared
	table        *hpack.Decoder
	headBytesMax int  // Limits.HeadBytesMax as it was announced
	bytes        int  // of the section so far
	over         bool // beyond headBytesMax or Limits.FieldsMax
	bomb         bool
}

// decode decodes a whole section. The fields are valid until the next call for a connection of the loop; names and
// values are immutable and may be kept.
func (d *decoder) decode(section []byte) (fields []httpparse.Header, e *Error) {
	if d.table == nil {
		d.table = hpack.NewDecoder(tableBytes, d.field)
	}
	d.table.SetMaxStringLength(max(d.headBytesMax*bombFactor, frameBytesMax))
	d.bytes, d.over, d.bomb = 0, false, false
	clear(d.shared.fields)
	d.shared.fields = d.shared.fields[:0]
	if cap(d.shared.fields) > sectionKeptMax {
		d.shared.fields = nil
	}
	_, err := d.table.Write(section)
	if err == nil {
		err = d.table.Close()
	}
	switch {
	case d.bomb || err == hpack.ErrStringLength:
		return nil, errHeaderBomb
	case err != nil:
		return nil, errCompression
	}
	return d.shared.fields, nil
}

// field takes one decoded field.
func (d *decoder) field(f hpack.HeaderField) {
	d.bytes += len(f.Name) + len(f.Value) + fieldOverhead
	d.over = d.over || d.bytes > d.headBytesMax || len(d.shared.fields) == d.shared.Limits.FieldsMax
	switch {
	case d.bytes > d.headBytesMax*bombFactor:
		d.bomb = true
		d.table.SetEmitEnabled(false) // the connection ends
	case !d.over:
		d.shared.fields = append(d.shared.fields, httpparse.Header{Name: bytesOf(f.Name), Value: bytesOf(f.Value)})
	}
}

// bytesOf returns a view of a string, which must not be written to. It is not nil.
func bytesOf(s string) []byte {
	if s == "" {
		return []byte{}
	}
	return unsafe.Slice(unsafe.StringData(s), len(s))
}
