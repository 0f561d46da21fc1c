// Package poison finds strings that were kept beyond their request, in a test run. It is turned on at link time:
//
//	go test -ldflags "-X tafe/app/internal/poison.views=on" ./app/...
//
// The memory behind the views of a request is then overwritten when its handler has returned. Without the flag nothing changes.
package poison

// Byte is what the memory is overwritten with. It is not ASCII, and several of it in a row are not UTF-8. In a request head, only a field value
// may contain it (obs-text, RFC 9110 section 5.5).
const Byte = 0xDB

// views is set by the linker only.
var views string

// On reports whether the flag is set.
func On() bool { return views == "on" }

// Overwrite overwrites buffers, up to their lengths.
func Overwrite(buffers ...[]byte) {
	for _, b := range buffers {
		for i := range b {
			b[i] = Byte
		}
	}
}
