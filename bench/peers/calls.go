package main

import (
	"io"
	"net/http"
)

// serveCalls is the upstream of the unary calls: it sends the message of a request back, with the status of gRPC as a trailer. net/http
// serves both protocols; the proxies are measured, and not this server.
func serveCalls(o options) error {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	trailer, contentType, status := []string{"Grpc-Status"}, []string{"application/grpc"}, []string{"0"}
	answer := func(w http.ResponseWriter, r *http.Request) {
		message, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		head := w.Header()
		head["Trailer"], head["Content-Type"] = trailer, contentType
		_, _ = w.Write(message)
		head["Grpc-Status"] = status
	}
	return (&http.Server{Addr: o.Listen, Handler: http.HandlerFunc(answer), Protocols: &protocols}).ListenAndServe()
}
