package config

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A guard on a path protects the files below it in every spelling of the path.
func TestNoSpellingPassesAGuard(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "admin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "admin", "secret.txt"), []byte("the content"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "open.txt"), []byte("open"), 0o644))
	for _, guard := range []struct {
		name, key string
		status    int
	}{
		{"basic_auth", `basic_auth = { users = { a = "password" } }`, 401},
		{"allow_ip", `allow_ip = ["10.0.0.0/8"]`, 403},
		{"deny_ip", `deny_ip = ["192.0.2.0/24"]`, 403}, // the address of httptest
	} {
		a := appOf(t, fmt.Sprintf("[[route]]\npath = \"/{path...}\"\nstatic = { dir = %q }\n"+
			"[[route]]\npath = \"/admin/{path...}\"\nstatic = { dir = %q }\n%s\n", dir, filepath.Join(dir, "admin"), guard.key))
		for _, c := range []struct {
			target string
			status int
			why    string
		}{
			{"/open.txt", 200, "what is not guarded"},
			{"/%6fpen.txt", 200, "however it is spelled"},
			{"/admin/secret.txt", guard.status, "what is"},
			{"/%61dmin/secret.txt", guard.status, "an escaped letter"},
			{"/x/../admin/secret.txt", guard.status, "a detour"},
			{"/x/%2e%2E/admin/secret.txt", guard.status, "an escaped one"},
			{"/./admin/./secret.txt", guard.status, "single dots"},
			{"/admin%2Fsecret.txt", 404, "an escaped slash"},
			{"/admin%2fsecret.txt", 404, "in small letters"},
			{"/admin%252Fsecret.txt", 404, "encoded twice"},
			{"/admin%5Csecret.txt", 404, "a backslash"},
			{"/admin%00/secret.txt", 400, "NUL"},
			{"//admin/secret.txt", 404, "an empty segment"},
			{"/admin;x/secret.txt", 404, "a parameter"},
			{"/x/..;/admin/secret.txt", 404, "dots with a parameter"},
			{"/x%2F..%2Fadmin%2Fsecret.txt", 400, "dots beside escaped slashes"},
			{"/ADMIN/secret.txt", 404, "capitals"},
		} {
			r := ask(a, "GET", c.target)
			require.Equal(t, c.status, r.StatusCode, "%s, GET %s: %s", guard.name, c.target, c.why)
			require.NotContains(t, body(r), "the content", "%s, GET %s: %s", guard.name, c.target, c.why)
		}
	}
}
