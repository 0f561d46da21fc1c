package httpparse

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEditedHeaders(t *testing.T) {
	head := "GET / HTTP/1.1\r\nHost: a\r\nRemote-User: x\r\nremote_user: y\r\nRemote-Users: z\r\nREMOTE-USER: w\r\n\r\n"
	limits := DefaultLimits()
	var r Request
	for range 2 { // also after reuse
		require.NoError(t, r.Parse([]byte(head), &limits))
		r.RemoveHeaders("Remote-User")
		require.Nil(t, r.Header("Remote-User"))
		require.Nil(t, r.Header("Remote_User"), "the spelling that CGI does not distinguish")
		require.Equal(t, "z", string(r.Header("Remote-Users")))
		r.AddHeader([]byte("Remote-User"), []byte("real"))
		require.Equal(t, "real", string(r.Header("remote-user")))
		require.Len(t, r.Headers(), 3)
		require.Equal(t, "a", string(r.Host))
		r.Reset()
	}
}
