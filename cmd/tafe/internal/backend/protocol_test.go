// The protocol as bytes over a pipe: requests, responses, and whether the connection stays open.

package backend

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestProtocol(t *testing.T) {
	long := strings.Repeat("k", keyBytesMax+1)
	for _, c := range []struct{ why, in, want string }{
		{"a stored item comes back with its flags", "set a 7 0 3\r\nabc\r\nget a\r\n", "STORED\r\nVALUE a 7 3\r\nabc\r\nEND\r\n"},
		{"gets adds the unique number", "set a 0 0 1\r\nx\r\ngets a\r\n", "STORED\r\nVALUE a 0 1 1\r\nx\r\nEND\r\n"},
		{"an absent key is left out", "set b 0 0 1\r\ny\r\nget a b c\r\n", "STORED\r\nVALUE b 0 1\r\ny\r\nEND\r\n"},
		{"a value may hold line ends", "set a 0 0 4\r\n\r\n\r\n\r\nget a\r\n", "STORED\r\nVALUE a 0 4\r\n\r\n\r\n\r\nEND\r\n"},
		{"an empty value is a value", "set a 0 0 0\r\n\r\nget a\r\n", "STORED\r\nVALUE a 0 0\r\n\r\nEND\r\n"},
		{"add stores what is absent", "add a 0 0 1\r\n1\r\nadd a 0 0 1\r\n2\r\nget a\r\n", "STORED\r\nNOT_STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n"},
		{"replace stores what is there", "replace a 0 0 1\r\n1\r\nset a 0 0 1\r\n1\r\nreplace a 0 0 1\r\n2\r\nget a\r\n",
			"NOT_STORED\r\nSTORED\r\nSTORED\r\nVALUE a 0 1\r\n2\r\nEND\r\n"},
		{"append and prepend keep the flags", "set a 5 0 1\r\nb\r\nappend a 9 0 1\r\nc\r\nprepend a 9 0 1\r\na\r\nget a\r\n",
			"STORED\r\nSTORED\r\nSTORED\r\nVALUE a 5 3\r\nabc\r\nEND\r\n"},
		{"append to nothing", "append a 0 0 1\r\nc\r\n", "NOT_STORED\r\n"},
		{"cas with the right number", "set a 0 0 1\r\n1\r\ncas a 0 0 1 1\r\n2\r\nget a\r\n", "STORED\r\nSTORED\r\nVALUE a 0 1\r\n2\r\nEND\r\n"},
		{"cas after another's store", "set a 0 0 1\r\n1\r\nset a 0 0 1\r\n2\r\ncas a 0 0 1 1\r\n3\r\n", "STORED\r\nSTORED\r\nEXISTS\r\n"},
		{"cas of nothing", "cas a 0 0 1 1\r\n3\r\n", "NOT_FOUND\r\n"},
		{"delete", "set a 0 0 1\r\n1\r\ndelete a\r\ndelete a\r\nget a\r\n", "STORED\r\nDELETED\r\nNOT_FOUND\r\nEND\r\n"},
		{"the old form of delete", "set a 0 0 1\r\n1\r\ndelete a 0\r\n", "STORED\r\nDELETED\r\n"},
		{"incr", "set a 0 0 2\r\n41\r\nincr a 1\r\nget a\r\n", "STORED\r\n42\r\nVALUE a 0 2\r\n42\r\nEND\r\n"},
		{"incr wraps at 64 bits", "set a 0 0 20\r\n18446744073709551615\r\nincr a 2\r\n", "STORED\r\n1\r\n"},
		{"decr stops at zero", "set a 0 0 1\r\n3\r\ndecr a 5\r\n", "STORED\r\n0\r\n"},
		{"incr of words", "set a 0 0 1\r\nx\r\nincr a 1\r\n", "STORED\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n"},
		{"incr by words", "incr a x\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n"},
		{"incr of nothing", "incr a 1\r\n", "NOT_FOUND\r\n"},
		{"touch", "set a 0 0 1\r\n1\r\ntouch a 10\r\ntouch b 10\r\n", "STORED\r\nTOUCHED\r\nNOT_FOUND\r\n"},
		{"gat answers the item, gats its number", "set a 0 0 1\r\n1\r\ngat 10 a b\r\ngats 10 a\r\n",
			"STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\nVALUE a 0 1 1\r\n1\r\nEND\r\n"},
		{"noreply is silent", "set a 0 0 1 noreply\r\n1\r\ndelete b noreply\r\nget a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n"},
		{"flush_all empties", "set a 0 0 1\r\n1\r\nflush_all\r\nget a\r\n", "STORED\r\nOK\r\nEND\r\n"},
		{"version is what a client pings with", "version\r\nverbosity 1\r\n", "VERSION 1.6.0-tafe\r\nOK\r\n"},
		{"quit ends without a word", "quit\r\nversion\r\n", ""},
		{"an unknown command", "frob\r\nversion\r\n", "ERROR\r\nVERSION 1.6.0-tafe\r\n"},
		{"an empty line", "\r\nversion\r\n", "ERROR\r\nVERSION 1.6.0-tafe\r\n"},
		{"get of nothing", "get\r\n", "ERROR\r\n"},
		{"a key over the limit", "get " + long + "\r\n", "CLIENT_ERROR bad key\r\n"},
		{"a store whose block cannot be found ends the connection", "set a 0 0 x\r\nversion\r\n", "CLIENT_ERROR bad command line format\r\n"},
		{"a negative length likewise", "set a 0 0 -1\r\nversion\r\n", "CLIENT_ERROR bad command line format\r\n"},
		{"a block longer than said likewise", "set a 0 0 1\r\nab\r\nversion\r\n", "CLIENT_ERROR bad data chunk\r\n"},
		{"a line over the limit likewise", strings.Repeat("x", lineBytesMax+1) + "\r\nversion\r\n", "CLIENT_ERROR line too long\r\n"},
		{"a value over the limit is skipped", "set a 0 0 1048577\r\n" + strings.Repeat("v", 1<<20+1) + "\r\nversion\r\n",
			"SERVER_ERROR object too large for cache\r\nVERSION 1.6.0-tafe\r\n"},
		{"append may not grow past the limit", "set a 0 0 1048576\r\n" + strings.Repeat("v", 1<<20) + "\r\nappend a 0 0 1\r\nx\r\n",
			"STORED\r\nSERVER_ERROR object too large for cache\r\n"},
		{"a negative expiry is over at once", "set a 0 -1 1\r\n1\r\nget a\r\n", "STORED\r\nEND\r\n"},
	} {
		t.Run(c.why, func(t *testing.T) {
			require.Equal(t, c.want, exchange(t, NewStore(nil), c.in))
		})
	}
}

// exchange sends in, half-closes, and returns the response.
func exchange(t *testing.T, store *Store, in string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := newStoreServer(store)
	ended := make(chan error, 1)
	go func() { ended <- server.serve(l) }()
	defer func() {
		require.NoError(t, l.Close())
		server.close()
		require.ErrorIs(t, <-ended, net.ErrClosed)
	}()

	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	go func() {
		_, _ = io.WriteString(conn, in)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	// A server that closes with input unread resets the connection; the answer is all that counts.
	out, _ := io.ReadAll(conn)
	return string(out)
}

func TestStoreExpiry(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	store := NewStore(func() time.Time { return now })
	for _, c := range []struct {
		expiry int64
		after  time.Duration
		want   bool
		why    string
	}{
		{0, 1000 * time.Hour, true, "0 is never"},
		{10, 9 * time.Second, true, "relative, and not yet"},
		{10, 10 * time.Second, false, "at its time it is gone"},
		{relativeExpiryMax, 719 * time.Hour, true, "thirty days are still relative"},
		{1_800_000_060, 59 * time.Second, true, "more than that is a Unix time"},
		{1_800_000_060, 60 * time.Second, false, "which comes"},
	} {
		now = time.Unix(1_800_000_000, 0)
		require.NoError(t, store.putItem("set", "k", item{value: []byte("v")}, c.expiry, 0))
		now = now.Add(c.after)
		_, ok := store.get("k")
		require.Equal(t, c.want, ok, c.why)
	}
	require.Zero(t, len(store.items), "what has expired takes no room")
	require.Zero(t, store.bytes)
}

func TestStoreCountsItsBytes(t *testing.T) {
	store := NewStore(nil)
	require.NoError(t, store.Set("key", []byte("12345")))
	require.Equal(t, 8, store.bytes)
	require.NoError(t, store.Set("key", []byte("1")))
	require.Equal(t, 4, store.bytes, "the old value is given back")
	_, err := store.count("key", 99, false)
	require.NoError(t, err)
	require.Equal(t, 6, store.bytes, "a number grows too")
	require.NoError(t, store.remove("key"))
	require.Zero(t, store.bytes)

	store.bytes = storeBytesMax - 3
	require.ErrorIs(t, store.Set("key", []byte("1")), errFull)
	store.bytes = storeBytesMax - 4
	require.NoError(t, store.Set("key", []byte("1")))
}

func TestClosedServerTakesNoConnection(t *testing.T) {
	server := newStoreServer(NewStore(nil))
	server.close()
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	require.False(t, server.add(there))
}

func TestAnswersInOrderWhilePipelined(t *testing.T) {
	set, err := Start(Config{Store: "127.0.0.1:0"})
	require.NoError(t, err)
	defer func() { require.NoError(t, set.Close()) }()
	conn, err := net.Dial("tcp", set.StoreAddr)
	require.NoError(t, err)
	defer conn.Close()
	r := bufio.NewReader(conn)
	for range 3 { // the same connection, several rounds
		_, err = io.WriteString(conn, "get "+ProfileKey("1")+"\r\nget profile:none\r\n")
		require.NoError(t, err)
		for _, want := range []string{"VALUE profile:1 0 20\r\n", "{\"segment\":\"travel\"}\r\n", "END\r\n", "END\r\n"} {
			line, err := r.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, want, line)
		}
	}
}
