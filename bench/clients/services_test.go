// Clients of services. http.Transport and grpc-go have goroutines that read and write the connections, and the caller waits for these.

package clients

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	appclient "tafe/app/client"
	"tafe/loop/reactor"
)

// openHTTP asks for a path that the server sends back.
func openHTTP(t testing.TB, addr string, d dialer, conns int) operation {
	transport := &http.Transport{DialContext: d.DialContext, MaxIdleConns: conns, MaxIdleConnsPerHost: conns, MaxConnsPerHost: conns}
	t.Cleanup(transport.CloseIdleConnections)
	return askHTTP(addr, transport)
}

// openRoundTripper is openHTTP with the transport of app/client, which has a pool for each loop, and one for goroutines.
func openRoundTripper(t testing.TB, addr string, d dialer, conns int) operation {
	onLoop, ok := d.(*reactor.Dialer)
	if ok {
		conns /= loopCount
	} else {
		onLoop = &reactor.Dialer{} // finds no task
	}
	c := appclient.New(appclient.Options{ConnsPerHostMax: conns, IdlePerHostMax: conns, WaitTimeout: patience})
	t.Cleanup(c.Close)
	return askHTTP(addr, c.RoundTripper(onLoop))
}

func askHTTP(addr string, transport http.RoundTripper) operation {
	c := &http.Client{Transport: transport}
	return func(ctx context.Context, _ int, value string) error {
		path := "/" + url.PathEscape(value)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
		if err != nil {
			return err
		}
		response, err := c.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		got, err := io.ReadAll(response.Body)
		return same(path, string(got), err)
	}
}

// echoMethod is a method of gRPC that answers with its argument.
const echoMethod = "/clients.Echo/Echo"

func openGRPC(t testing.TB, addr string, d dialer, _ int) operation {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return func(ctx context.Context, _ int, value string) error {
		got := &wrapperspb.StringValue{}
		err := conn.Invoke(ctx, echoMethod, wrapperspb.String(value), got)
		return same(value, got.GetValue(), err)
	}
}

// newGRPCServer returns a server with echoMethod.
func newGRPCServer() *grpc.Server {
	echo := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		value := &wrapperspb.StringValue{}
		return value, decode(value)
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "clients.Echo", Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: echo}}}, nil)
	return server
}
