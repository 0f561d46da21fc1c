package reactor_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"

	"tafe/loop"
	"tafe/loop/reactor"
)

// A synchronous client that dials with a Dialer is cooperative: while it waits for
// its server, the loop runs other tasks.
func ExampleDialer() {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		c, err := server.Accept()
		if err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	var dialer reactor.Dialer
	e, err := reactor.Start(reactor.Config{Addr: "127.0.0.1:0", Loops: 1,
		Open: func(c *reactor.Conn) reactor.Handler {
			return onData(func() { ask(c, &dialer, server.Addr().String()) })
		}})
	if err != nil {
		fmt.Println(err)
		return
	}
	dialer.Bind(e)

	client, err := net.Dial("tcp", e.Addr().String())
	if err == nil {
		_, _ = io.WriteString(client, "hello\n")
		answer, _ := bufio.NewReader(client).ReadString('\n')
		fmt.Print("answered: ", answer)
		_ = client.Close()
	}
	_ = e.Stop(context.Background())
	_ = server.Close()
	// Output: answered: hello
}

// ask starts a task that forwards a line of the connection to a server and the
// server's response back.
func ask(c *reactor.Conn, dialer *reactor.Dialer, server string) {
	line := string(c.Input())
	c.Consume(len(line))
	_, err := c.Loop().Start(&task{done: make(chan error, 1), run: func(*loop.Task) {
		upstream, err := dialer.Dial("tcp", server)
		if err != nil {
			c.Abort(err)
			return
		}
		defer func() { _ = upstream.Close() }()
		_, _ = io.WriteString(upstream, line)
		answer, _ := bufio.NewReader(upstream).ReadString('\n')
		c.Write([]byte(answer))
	}})
	if err != nil {
		c.Abort(err)
	}
}

// onData is a reactor.Handler made of a function.
type onData func()

func (f onData) Data(*reactor.Conn)          { f() }
func (f onData) Timeout(*reactor.Conn)       {}
func (f onData) Closed(*reactor.Conn, error) {}
