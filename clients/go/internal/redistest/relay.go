package redistest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Relay stands between a client and a server. It can do to requests and replies what networks do.
type Relay struct {
	Addr   string
	server string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	lose     string
	hold     *held
	delay    func() time.Duration
	answer   string
	stopped  chan struct{} // Closed when it goes on; nil while nothing is stopped.
	lost     atomic.Int32
	accepted atomic.Int32
	answered atomic.Int32
}

type held struct {
	command      string
	begun, letGo chan struct{}
}

// NewRelay starts a relay that ends with the test.
func NewRelay(t testing.TB, server *Server) *Relay {
	t.Helper()
	r := &Relay{Addr: FreeAddr(t), server: server.Addr, conns: map[net.Conn]bool{}}
	r.Accept(t)
	t.Cleanup(r.Refuse)
	return r
}

// Accept accepts connections.
func (r *Relay) Accept(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", r.Addr)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.listener = listener
	r.mu.Unlock()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			r.accepted.Add(1)
			go r.relay(client)
		}
	}()
}

// Refuse closes all connections and accepts no more.
func (r *Relay) Refuse() {
	r.mu.Lock()
	listener := r.listener
	r.mu.Unlock()
	_ = listener.Close()
	r.CloseAll()
}

// CloseAll closes all connections.
func (r *Relay) CloseAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		_ = conn.Close()
	}
}

// Accepted is how many connections were made.
func (r *Relay) Accepted() int { return int(r.accepted.Load()) }

// LoseReplyTo closes the connection of the next request with this command, when the server has answered it.
func (r *Relay) LoseReplyTo(command string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lose = command
}

// Lost is how many replies were lost.
func (r *Relay) Lost() int { return int(r.lost.Load()) }

// Hold keeps the next request with this command: begun is closed when it is there, and it goes on when letGo is called.
func (r *Relay) Hold(command string) (begun <-chan struct{}, letGo func()) {
	h := &held{command, make(chan struct{}), make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold = h
	return h.begun, func() { close(h.letGo) }
}

// Delay delays each LOCK.ACQUIRE, and all behind it on its connection; nil ends that.
func (r *Relay) Delay(delay func() time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = delay
}

// Answer answers each LOCK.ACQUIRE with this error, and does not ask the server; "" ends that.
func (r *Relay) Answer(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = text
}

// Answered is how many requests the relay answered itself.
func (r *Relay) Answered() int { return int(r.answered.Load()) }

// Stop lets nothing through until the returned function is called.
func (r *Relay) Stop() (goOn func()) {
	stopped := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = stopped
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.stopped = nil
		close(stopped)
	}
}

func (r *Relay) await() {
	r.mu.Lock()
	stopped := r.stopped
	r.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
}

// relay passes bytes in both directions until either side closes.
func (r *Relay) relay(client net.Conn) {
	server, err := net.Dial("tcp", r.server)
	if err != nil {
		_ = client.Close()
		return
	}
	r.mu.Lock()
	r.conns[client], r.conns[server] = true, true
	r.mu.Unlock()
	var ending sync.Once
	end := func() {
		ending.Do(func() {
			_ = client.Close()
			_ = server.Close()
			r.mu.Lock()
			delete(r.conns, client)
			delete(r.conns, server)
			r.mu.Unlock()
		})
	}
	var loses atomic.Bool
	go func() {
		// A client that closes has sent what it sent: the server gets that too.
		defer end()
		_ = pass(server, client, func(request []byte) bool { return r.request(request, client, &loses) })
	}()
	defer end()
	_ = pass(client, server, func([]byte) bool {
		r.await()
		if loses.Load() {
			r.lost.Add(1)
			end()
			return false
		}
		return true
	})
}

// request looks at what a client sent; false if it is not to go on.
func (r *Relay) request(request []byte, client io.Writer, loses *atomic.Bool) bool {
	r.await()
	r.mu.Lock()
	if r.lose != "" && bytes.Contains(request, []byte(r.lose)) {
		r.lose = ""
		loses.Store(true)
	}
	hold := r.hold
	if hold != nil && bytes.Contains(request, []byte(hold.command)) {
		r.hold = nil
	} else {
		hold = nil
	}
	acquires := bytes.Contains(request, []byte("LOCK.ACQUIRE"))
	delay, answer := r.delay, r.answer
	r.mu.Unlock()
	if hold != nil {
		close(hold.begun)
		<-hold.letGo
	}
	if acquires && delay != nil {
		time.Sleep(delay())
	}
	if acquires && answer != "" {
		for range bytes.Count(request, []byte("LOCK.ACQUIRE")) {
			r.answered.Add(1)
			_, _ = io.WriteString(client, "-"+answer+"\r\n")
		}
		return false
	}
	return true
}

// pass copies until an end or an error. Pieces for which goesOn is false are left out.
func pass(to io.Writer, from io.Reader, goesOn func(piece []byte) bool) error {
	buffer := make([]byte, 64*1024)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return err
		}
		if !goesOn(buffer[:n]) {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return err
		}
	}
}
