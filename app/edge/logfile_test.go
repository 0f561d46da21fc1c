// Log files under log rotation: moved away while they are written.

package edge

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLogFileFollowsItsPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	require.NoError(t, os.WriteFile(path, []byte("0\n"), 0o600))
	l, err := openLogFile(path, rotation{})
	require.NoError(t, err)
	write := func(text string) {
		_, err := l.Write([]byte(text))
		require.NoError(t, err)
	}
	holds := func(path, want, why string) {
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(got), why)
	}
	write("1\n")
	holds(path, "0\n1\n", "what was there stays")
	require.NoError(t, os.Rename(path, path+".1"))
	write("2\n")
	holds(path+".1", "0\n1\n2\n", "until it is told, it goes on with the moved file")
	require.NoError(t, l.reopen())
	write("3\n")
	holds(path, "3\n", "then with a new one")

	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Mkdir(path, 0o700))
	require.Error(t, l.reopen(), "a directory is no file")
	write("4\n")
	require.NoError(t, l.Close(), "and the old one was not closed")
	_, err = openLogFile(path, rotation{})
	require.Error(t, err)
}
