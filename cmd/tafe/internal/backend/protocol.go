// The memcached text protocol, with one goroutine per connection. The items are in store.go.

package backend

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

const (
	lineBytesMax   = 2048 // memcached's own limit of a command line
	storeConnsMax  = 4096
	versionOfStore = "1.6.0-tafe"
)

var errQuit = errors.New("quit")

// storeServer accepts connections to a Store.
type storeServer struct {
	store *Store

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
	done   sync.WaitGroup
}

func newStoreServer(store *Store) *storeServer {
	return &storeServer{store: store, conns: make(map[net.Conn]struct{})}
}

// serve accepts connections until l is closed. A connection over the limit gets an error and is closed.
func (s *storeServer) serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		if !s.add(conn) {
			_, _ = io.WriteString(conn, "ERROR Too many open connections\r\n")
			_ = conn.Close()
			continue
		}
		go func() {
			defer s.remove(conn)
			s.converse(conn)
		}()
	}
}

// close ends all connections and returns when their goroutines have ended. The caller closes the listener.
func (s *storeServer) close() {
	s.mu.Lock()
	s.closed = true
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
}

func (s *storeServer) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= storeConnsMax {
		return false
	}
	s.conns[conn] = struct{}{}
	s.done.Add(1)
	return true
}

func (s *storeServer) remove(conn net.Conn) {
	_ = conn.Close()
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
	s.done.Done()
}

// converse answers commands until the peer quits, disconnects, or sends a line beyond the limit. Responses to commands that
// arrived together are sent together.
func (s *storeServer) converse(conn net.Conn) {
	r := bufio.NewReaderSize(conn, lineBytesMax)
	w := bufio.NewWriter(conn)
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			_, _ = w.WriteString("CLIENT_ERROR line too long\r\n")
			_ = w.Flush()
			return
		}
		if err != nil {
			return
		}
		words := strings.Fields(string(line))
		if err := s.answer(words, r, w); err != nil {
			_ = w.Flush()
			return
		}
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
	}
}

// answer executes one command. An error ends the connection: the peer asked for it, or the start of the next command is
// unknown.
func (s *storeServer) answer(words []string, r *bufio.Reader, w *bufio.Writer) error {
	if len(words) == 0 {
		return reply(w, "ERROR")
	}
	verb, args := words[0], words[1:]
	switch verb {
	case "get", "gets":
		return s.answerGet(w, args, verb == "gets")
	case "gat", "gats":
		return s.answerGetAndTouch(w, args, verb == "gats")
	case "set", "add", "replace", "append", "prepend", "cas":
		return s.answerStore(r, w, verb, args)
	}
	args, quiet := cutNoreply(args)
	var text string
	switch verb {
	case "delete":
		text = s.answerDelete(args)
	case "touch":
		text = s.answerTouch(args)
	case "incr", "decr":
		text = s.answerCount(args, verb == "decr")
	case "flush_all":
		s.store.flush()
		text = "OK"
	case "version":
		text = "VERSION " + versionOfStore
	case "verbosity":
		text = "OK"
	case "quit":
		return errQuit
	default:
		text = "ERROR"
	}
	if quiet {
		return nil
	}
	return reply(w, text)
}

func (s *storeServer) answerGet(w *bufio.Writer, keys []string, withUnique bool) error {
	if len(keys) == 0 {
		return reply(w, "ERROR")
	}
	if !keysValid(keys) {
		return reply(w, "CLIENT_ERROR bad key")
	}
	for _, key := range keys {
		if it, ok := s.store.get(key); ok {
			writeItem(w, key, it, withUnique)
		}
	}
	return reply(w, "END")
}

func (s *storeServer) answerGetAndTouch(w *bufio.Writer, args []string, withUnique bool) error {
	if len(args) < 2 {
		return reply(w, "ERROR")
	}
	expiry, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || !keysValid(args[1:]) {
		return reply(w, "CLIENT_ERROR bad command line format")
	}
	for _, key := range args[1:] {
		if it, err := s.store.touch(key, expiry); err == nil {
			writeItem(w, key, it, withUnique)
		}
	}
	return reply(w, "END")
}

// answerStore reads the data block of a storage command and stores it: VERB key flags expiry bytes [unique] [noreply].
func (s *storeServer) answerStore(r *bufio.Reader, w *bufio.Writer, verb string, args []string) error {
	args, quiet := cutNoreply(args)
	fields := 4
	if verb == "cas" {
		fields = 5
	}
	if len(args) != fields {
		return refuse(w, "ERROR")
	}
	flags, errFlags := strconv.ParseUint(args[1], 10, 32)
	expiry, errExpiry := strconv.ParseInt(args[2], 10, 64)
	size, errSize := strconv.ParseUint(args[3], 10, 31)
	var unique uint64
	var errUnique error
	if verb == "cas" {
		unique, errUnique = strconv.ParseUint(args[4], 10, 64)
	}
	if errors.Join(errFlags, errExpiry, errSize, errUnique) != nil || !keysValid(args[:1]) {
		return refuse(w, "CLIENT_ERROR bad command line format")
	}
	if size > valueBytesMax {
		if _, err := io.CopyN(io.Discard, r, int64(size)+2); err != nil {
			return err
		}
		return reply(w, "SERVER_ERROR "+errTooLarge.Error())
	}
	block := make([]byte, size+2)
	if _, err := io.ReadFull(r, block); err != nil {
		return err
	}
	value, ok := bytes.CutSuffix(block, []byte("\r\n"))
	if !ok {
		return refuse(w, "CLIENT_ERROR bad data chunk")
	}
	err := s.store.putItem(verb, args[0], item{value: value, flags: uint32(flags)}, expiry, unique)
	if quiet {
		return nil
	}
	return reply(w, outcome(err, "STORED"))
}

func (s *storeServer) answerDelete(args []string) string {
	// An old form of the command has a time after the key. Only 0 is accepted, and it has no effect.
	if len(args) == 2 && args[1] == "0" {
		args = args[:1]
	}
	if len(args) != 1 || !keysValid(args) {
		return "CLIENT_ERROR bad command line format"
	}
	return outcome(s.store.remove(args[0]), "DELETED")
}

func (s *storeServer) answerTouch(args []string) string {
	if len(args) != 2 || !keysValid(args[:1]) {
		return "ERROR"
	}
	expiry, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return "CLIENT_ERROR invalid exptime argument"
	}
	_, err = s.store.touch(args[0], expiry)
	return outcome(err, "TOUCHED")
}

func (s *storeServer) answerCount(args []string, down bool) string {
	if len(args) != 2 || !keysValid(args[:1]) {
		return "ERROR"
	}
	delta, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return "CLIENT_ERROR invalid numeric delta argument"
	}
	number, err := s.store.count(args[0], delta, down)
	return outcome(err, strconv.FormatUint(number, 10))
}

// outcome writes the result of a storage operation; well is the word for success.
func outcome(err error, well string) string {
	switch err {
	case nil:
		return well
	case errNotFound:
		return "NOT_FOUND"
	case errExists:
		return "EXISTS"
	case errNotStored:
		return "NOT_STORED"
	case errNotNumeric:
		return "CLIENT_ERROR " + err.Error()
	default:
		return "SERVER_ERROR " + err.Error()
	}
}

func writeItem(w *bufio.Writer, key string, it item, withUnique bool) {
	if withUnique {
		fmt.Fprintf(w, "VALUE %s %d %d %d\r\n", key, it.flags, len(it.value), it.unique)
	} else {
		fmt.Fprintf(w, "VALUE %s %d %d\r\n", key, it.flags, len(it.value))
	}
	_, _ = w.Write(it.value)
	_, _ = w.WriteString("\r\n")
}

// reply writes one line. The next flush reports a peer that has disconnected.
func reply(w *bufio.Writer, line string) error {
	_, _ = w.WriteString(line)
	_, err := w.WriteString("\r\n")
	return err
}

// refuse sends an error and ends the connection: a data block of unknown length may follow, which would be read as commands.
func refuse(w *bufio.Writer, line string) error {
	_ = reply(w, line)
	return errors.New(line)
}

func cutNoreply(args []string) ([]string, bool) {
	if n := len(args); n > 0 && args[n-1] == "noreply" {
		return args[:n-1], true
	}
	return args, false
}

func keysValid(keys []string) bool {
	for _, key := range keys {
		if len(key) > keyBytesMax || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return false
		}
	}
	return true
}
