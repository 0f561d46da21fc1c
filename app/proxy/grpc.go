// gRPC in the proxy: deadlines of clients, the status of responses, and the health checks of grpc.health.v1. Package app answers errors.

package proxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"tafe/app"
	"tafe/app/client"
	"tafe/httpparse"
)

const grpcUnavailable = "14"

// limitGRPC ends the request at the deadline of its client, unless it has an earlier one.
func limitGRPC(c *app.Context) {
	if d, ok := c.GRPCTimeout(); ok {
		c.LimitTime(max(d, 1))
	}
}

// statusOfGRPC returns the status of a complete response of gRPC, which is in its trailers, or in its head if it has no body.
func statusOfGRPC(resp *client.Response) (code int, ok bool) {
	v := resp.Header("Grpc-Status")
	for _, f := range resp.Trailers() {
		if strings.EqualFold(httpparse.ViewString(f.Name), "grpc-status") {
			v = f.Value
		}
	}
	n, err := strconv.ParseUint(string(v), 10, 8)
	return int(n), err == nil
}

// countGRPC counts the status of a complete response to a request of gRPC.
func (n *serverCounts) countGRPC(c *app.Context, x *forward) {
	if !c.IsGRPC() {
		return
	}
	if code, ok := statusOfGRPC(&x.resp); ok && code < len(n.grpc) {
		n.grpc[code].Add(1)
	}
}

// The messages of grpc.health.v1: HealthCheckRequest has the field service, HealthCheckResponse the field status.
const (
	healthPath    = "/grpc.health.v1.Health/Check"
	healthField   = 1
	healthServing = 1
	messageHead   = 5 // of a message on the wire: a flag and its length
)

// checkGRPC calls Check of grpc.health.v1.
func checkGRPC(ctx context.Context, c *client.Client, req *client.Request, resp *client.Response, service string) error {
	var message []byte
	if service != "" {
		message = protowire.AppendString(protowire.AppendTag(nil, healthField, protowire.BytesType), service)
	}
	req.Method, req.Target, req.AcceptTrailers = "POST", []byte(healthPath), true
	req.Body = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	req.AddHeader("Content-Type", "application/grpc")
	if err := c.Do(nil, ctx, req, resp); err != nil {
		return err
	}
	body, err := resp.ReadAll(checkBodyMax)
	switch code, ok := statusOfGRPC(resp); {
	case err != nil:
		return err
	case resp.Status != 200:
		return statusError(resp.Status)
	case !ok:
		return errors.New("no grpc-status")
	case code != 0:
		return fmt.Errorf("grpc-status %d", code)
	}
	return serving(body)
}

// serving checks a HealthCheckResponse.
func serving(body []byte) error {
	if len(body) < messageHead || body[0] != 0 || int(binary.BigEndian.Uint32(body[1:])) != len(body)-messageHead {
		return errors.New("not one message of gRPC")
	}
	status := uint64(0)
	for b := body[messageHead:]; len(b) > 0; {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if field == healthField && kind == protowire.VarintType {
			status, n = protowire.ConsumeVarint(b)
		} else {
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
	}
	if status != healthServing {
		return fmt.Errorf("health status %d", status)
	}
	return nil
}
