// Package grpctest runs the interoperability tests of grpc-go through the proxy. It is a module of its own, because they import packages that
// the server does not need.
package grpctest

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"tafe/app"
	"tafe/app/client"
	"tafe/app/proxy"
	"tafe/httpparse"
)

const patience = 20 * time.Second

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// backend is a server of grpc-go.
type backend struct {
	addr   string
	calls  atomic.Int32
	health *health.Server
	server *grpc.Server
}

func startBackend(t *testing.T) *backend {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := &backend{addr: ln.Addr().String(), health: health.NewServer()}
	b.server = grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if info.FullMethod != grpc_health_v1.Health_Check_FullMethodName {
			b.calls.Add(1)
		}
		return handle(ctx, req)
	}))
	grpc_testing.RegisterTestServiceServer(b.server, interop.NewTestServer())
	grpc_health_v1.RegisterHealthServer(b.server, b.health)
	go func() { _ = b.server.Serve(ln) }()
	t.Cleanup(b.server.Stop)
	return b
}

// front is a server with a proxied route for everything.
type front struct {
	*app.Server
	group   *proxy.Group
	entries chan app.Entry
	conn    *grpc.ClientConn
}

func startFront(t *testing.T, g proxy.GroupOptions, backends ...string) *front {
	g.Protocol, g.Log = client.H2C, quiet
	for _, addr := range backends {
		g.Servers = append(g.Servers, proxy.ServerOptions{Addr: addr})
	}
	group, err := proxy.NewGroup(g)
	require.NoError(t, err)
	h, err := proxy.New(group, proxy.Options{})
	require.NoError(t, err)
	f := &front{group: group, entries: make(chan app.Entry, 1000)}
	a := app.New(app.Options{Log: quiet, Limits: httpparse.Limits{BodyBytesMax: 1 << 30}, AccessLog: func(e *app.Entry) {
		f.entries <- app.Entry{Status: e.Status, GRPCStatus: string([]byte(e.GRPCStatus))}
	}})
	a.Handle("", "/{path...}", h.Serve)
	f.Server, err = app.Listen(a, app.ServerConfig{Loops: 2, Listeners: []app.Listener{{Addr: "127.0.0.1:0", H2C: true}}})
	require.NoError(t, err)
	group.Start()
	f.conn, err = grpc.NewClient(f.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = f.conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, f.Stop(ctx))
		_ = group.Close()
	})
	return f
}

// The interoperability tests end the process when they fail.
func TestInterop(t *testing.T) {
	f := startFront(t, proxy.GroupOptions{}, startBackend(t).addr)
	c := grpc_testing.NewTestServiceClient(f.conn)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, tt := range []struct {
		name string
		run  func(context.Context, grpc_testing.TestServiceClient, ...grpc.CallOption)
	}{
		{"empty_unary", interop.DoEmptyUnaryCall},
		{"large_unary", interop.DoLargeUnaryCall},
		{"client_streaming", interop.DoClientStreaming},
		{"server_streaming", interop.DoServerStreaming},
		{"ping_pong", interop.DoPingPong},
		{"empty_stream", interop.DoEmptyStream},
		{"timeout_on_sleeping_server", interop.DoTimeoutOnSleepingServer},
		{"cancel_after_begin", interop.DoCancelAfterBegin},
		{"cancel_after_first_response", interop.DoCancelAfterFirstResponse},
		{"custom_metadata", interop.DoCustomMetadata},
		{"status_code_and_message", interop.DoStatusCodeAndMessage},
		{"special_status_message", interop.DoSpecialStatusMessage},
	} {
		t.Run(tt.name, func(*testing.T) { tt.run(ctx, c) })
	}
	t.Run("unimplemented_method", func(*testing.T) { interop.DoUnimplementedMethod(ctx, f.conn) })
	t.Run("unimplemented_service", func(*testing.T) {
		interop.DoUnimplementedService(ctx, grpc_testing.NewUnimplementedServiceClient(f.conn))
	})
	stats := f.group.Stats().Servers[0]
	require.NotZero(t, stats.GRPC["OK"])
	require.NotZero(t, stats.GRPC["UNIMPLEMENTED"])
	require.NotZero(t, stats.GRPC["UNKNOWN"])
	require.NotZero(t, f.Stats().GRPC[codes.OK])
	require.NotZero(t, f.Stats().GRPC[codes.Unimplemented])
}

// The calls of one connection of a client are balanced one by one.
func TestBalance(t *testing.T) {
	one, two := startBackend(t), startBackend(t)
	f := startFront(t, proxy.GroupOptions{}, one.addr, two.addr)
	c := grpc_testing.NewTestServiceClient(f.conn)
	for range 20 {
		_, err := c.EmptyCall(t.Context(), &grpc_testing.Empty{})
		require.NoError(t, err)
		require.Equal(t, app.Entry{Status: 200, GRPCStatus: "0"}, <-f.entries)
	}
	require.EqualValues(t, 10, one.calls.Load())
	require.EqualValues(t, 10, two.calls.Load())
}

// The health checks of gRPC take a server out and in again.
func TestHealth(t *testing.T) {
	one, two := startBackend(t), startBackend(t)
	check := &proxy.Check{GRPC: true, Service: "greeter", Interval: 5 * time.Millisecond, Rise: 1, Fall: 1}
	one.health.SetServingStatus("greeter", grpc_health_v1.HealthCheckResponse_SERVING)
	two.health.SetServingStatus("greeter", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	f := startFront(t, proxy.GroupOptions{Check: check}, one.addr, two.addr)
	state := func(i int) proxy.State { return f.group.Stats().Servers[i].State }
	require.Eventually(t, func() bool { return state(0) == proxy.Up && state(1) == proxy.Down }, patience, time.Millisecond)
	c := grpc_testing.NewTestServiceClient(f.conn)
	for range 4 {
		_, err := c.EmptyCall(t.Context(), &grpc_testing.Empty{})
		require.NoError(t, err)
	}
	require.EqualValues(t, 4, one.calls.Load())
	two.health.SetServingStatus("greeter", grpc_health_v1.HealthCheckResponse_SERVING)
	require.Eventually(t, func() bool { return state(1) == proxy.Up }, patience, time.Millisecond)
	one.health.SetServingStatus("greeter", grpc_health_v1.HealthCheckResponse_UNKNOWN)
	require.Eventually(t, func() bool { return state(0) == proxy.Down }, patience, time.Millisecond)
}

// Answers of the proxy itself are errors of gRPC.
func TestErrors(t *testing.T) {
	none, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, none.Close())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = silent.Close() }()
	down := startBackend(t)
	down.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	for _, tt := range []struct {
		why     string
		options proxy.GroupOptions
		addr    string
		code    codes.Code
	}{
		{"502: no connection", proxy.GroupOptions{Tries: 1}, none.Addr().String(), codes.Unavailable},
		{"504: no response", proxy.GroupOptions{Tries: 1, HeadTimeout: 20 * time.Millisecond}, silent.Addr().String(), codes.DeadlineExceeded},
		{"503: no server", proxy.GroupOptions{Check: &proxy.Check{GRPC: true, Interval: time.Millisecond, Fall: 1}}, down.addr, codes.ResourceExhausted},
	} {
		t.Run(tt.why, func(t *testing.T) {
			f := startFront(t, tt.options, tt.addr)
			if tt.options.Check != nil {
				require.Eventually(t, func() bool { return f.group.Stats().Servers[0].State == proxy.Down }, patience, time.Millisecond)
			}
			c := grpc_testing.NewTestServiceClient(f.conn)
			_, err := c.EmptyCall(t.Context(), &grpc_testing.Empty{})
			require.Equal(t, tt.code.String(), status.Code(err).String(), "%v", err)
			require.NotEmpty(t, status.Convert(err).Message())
		})
	}
}
