package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStaticAction(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.txt"), []byte("hello"), 0o600))
	text := sprintf("[[route]]\npath = \"/files/{name...}\"\nstatic = { dir = %q, cache_control = \"max-age=60\" }\n", dir)
	a := appOf(t, text)
	r := ask(a, "GET", "/files/a.txt")
	require.Equal(t, 200, r.StatusCode)
	require.Equal(t, "hello", body(r))
	require.Equal(t, "max-age=60", r.Header.Get("Cache-Control"))
	require.Equal(t, 404, ask(a, "GET", "/files/b.txt").StatusCode)

	load := func(text string, before *Resources) *Resources {
		c, err := Parse("f.toml", []byte(text), nil)
		require.NoError(t, err)
		_, r, err := c.App(quietly(c), nil, before)
		require.NoError(t, err)
		return r
	}
	first := load(text, nil)
	same := load(text+"[[route]]\npath = \"/x\"\nrespond = {}\n", first)
	require.Same(t, first.directories[0].Site, same.directories[0].Site, "the files in memory stay there")
	first.TransferTo(same)
	first.Close()
	require.Equal(t, 404, ask(a, "GET", "/files/c.txt").StatusCode)
	same.Close()
}

// A reload follows the path of a directory whose definition has not changed.
func TestAReloadFollowsTheDirectory(t *testing.T) {
	base := t.TempDir()
	for _, release := range []string{"one", "two"} {
		require.NoError(t, os.Mkdir(filepath.Join(base, release), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(base, release, "a.foo"), []byte(release), 0o600))
	}
	current := filepath.Join(base, "current")
	require.NoError(t, os.Symlink("one", current))
	c, err := Parse("f.toml", []byte(sprintf(
		"[[route]]\npath = \"/{path...}\"\n[route.static]\ndir = %q\ncheck_interval = \"1h\"\ntypes = { \".foo\" = \"text/x-foo\" }\n", current)), nil)
	require.NoError(t, err)
	a, first, err := c.App(quietly(c), nil, nil)
	require.NoError(t, err)
	r := ask(a, "GET", "/a.foo")
	require.Equal(t, "one", body(r))
	require.Equal(t, "text/x-foo", r.Header.Get("Content-Type"))
	require.NoError(t, os.Symlink("two", current+".new"))
	require.NoError(t, os.Rename(current+".new", current))
	require.Equal(t, "one", body(ask(a, "GET", "/a.foo")), "it is in memory for an hour")
	a, second, err := c.App(quietly(c), nil, first)
	require.NoError(t, err)
	require.Equal(t, "two", body(ask(a, "GET", "/a.foo")))
	first.TransferTo(second)
	first.Close()
	second.Close()
}

func TestWrongStatic(t *testing.T) {
	for _, c := range []struct{ path, options, want string }{
		{"/files", `dir = "/"`, "f.toml:3:1: route /files: the path of a static action must end in a catch-all, as in /files/{path...}"},
		{"/files/{path...}", `dir = "/", index = "a/b"`, `f.toml:3:1: route.static: index "a/b" is not the name of a file`},
		{"/files/{path...}", `dir = "/", types = { foo = "text/plain" }`, `f.toml:3:1: route.static: types: "foo" is not a single file extension`},
		{"/files/{path...}", `dir = "/", default_type = "text"`, `default type: "text" is not a media type`},
		{"/files/{path...}", `dir = "/", cache_bytes_max = "1MiB", cache_file_bytes_max = "1MiB"`, "is smaller than 8 times"},
	} {
		_, err := build(sprintf("[[route]]\npath = %q\nstatic = { %s }\n", c.path, c.options))
		require.ErrorContains(t, err, c.want)
	}
}

// A directory that cannot be opened affects only its route.
func TestDirectoryThatIsNotThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	text := sprintf("[[route]]\npath = \"/files/{path...}\"\nstatic = { dir = %q }\n[[route]]\npath = \"/\"\nrespond = { body = \"good\" }\n", dir)
	c, err := Parse("f.toml", []byte(text), nil)
	require.NoError(t, err)
	a, r, err := c.App(quietly(c), nil, nil)
	require.NoError(t, err)
	require.EqualError(t, r.Broken(), sprintf("f.toml:3:12: route.static.dir = %q: no such file or directory", dir))
	require.Equal(t, 503, ask(a, "GET", "/files/a.txt").StatusCode)
	require.Equal(t, "good", body(ask(a, "GET", "/")))

	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.txt"), []byte("hello"), 0o600))
	a, next, err := c.App(quietly(c), nil, r)
	require.NoError(t, err)
	t.Cleanup(next.Close)
	require.Empty(t, next.Broken())
	require.Equal(t, "hello", body(ask(a, "GET", "/files/a.txt")), "a reload tries it again")
}
