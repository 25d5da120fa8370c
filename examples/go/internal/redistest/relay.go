package redistest

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"
)

// Relay stands between a client and a server. It can lose a reply: the server has done what it was told, and the connection
// breaks before the client hears of it. And it can delay a request, so that later ones of other connections overtake it.
type Relay struct {
	Addr  string
	lose  atomic.Pointer[string]
	lost  atomic.Int32
	delay atomic.Pointer[delay]
}

type delay struct {
	command      string
	begun, letGo chan struct{}
}

// NewRelay starts a relay that ends with the test.
func NewRelay(t testing.TB, server *Server) *Relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	r := &Relay{Addr: listener.Addr().String()}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go r.relay(client, server.Addr)
		}
	}()
	return r
}

// LoseReplyTo loses the reply to the next request with this command.
func (r *Relay) LoseReplyTo(command string) {
	r.lose.Store(&command)
}

// Delay delays the next request with this command: begun is closed when it is there, and it goes on when letGo is called.
func (r *Relay) Delay(command string) (begun <-chan struct{}, letGo func()) {
	d := &delay{command, make(chan struct{}), make(chan struct{})}
	r.delay.Store(d)
	return d.begun, func() { close(d.letGo) }
}

// Lost is how many replies were lost.
func (r *Relay) Lost() int {
	return int(r.lost.Load())
}

// relay passes bytes in both directions until either side closes.
func (r *Relay) relay(client net.Conn, addr string) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	var loses atomic.Bool
	go func() {
		defer server.Close()
		_ = pass(server, client, func(request []byte) bool {
			command := r.lose.Load()
			if command != nil && bytes.Contains(request, []byte(*command)) && r.lose.CompareAndSwap(command, nil) {
				loses.Store(true)
			}
			d := r.delay.Load()
			if d != nil && bytes.Contains(request, []byte(d.command)) && r.delay.CompareAndSwap(d, nil) {
				close(d.begun)
				<-d.letGo
			}
			return true
		})
	}()
	_ = pass(client, server, func([]byte) bool {
		if loses.Load() {
			r.lost.Add(1)
			return false
		}
		return true
	})
}

// pass copies until an end, an error, or a piece that is not to go on.
func pass(to io.Writer, from io.Reader, goesOn func(piece []byte) bool) error {
	buffer := make([]byte, 64*1024)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return err
		}
		if !goesOn(buffer[:n]) {
			return nil
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return err
		}
	}
}
