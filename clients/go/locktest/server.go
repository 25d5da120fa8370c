// Package locktest is a server in memory for tests of programs that use the package lock. The client is the real one: it
// speaks to this server as it does to Redis, so waits, cancellation, renewal, loss, fences and errors are the real ones too.
//
//	server := locktest.New()
//	defer server.Close()
//	c := server.Client()
//	h, err := c.Mutex("orders:42").Lock(ctx)
//	server.Break("orders:42") // h.Context() is cancelled
//
// It is one server without replicas, databases or users.
package locktest

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	lock "example.com/redis-lock/clients/go"
)

// Server is a server in memory. Any number of goroutines may use it.
type Server struct {
	mu      sync.Mutex
	started time.Time
	ahead   time.Duration
	timer   *time.Timer
	closed  bool
	failure string

	locks   map[string]*state
	waiters []*waiter // In the order in which they came.
	conns   map[*conn]bool
	lastID  int64
	fence   int64
	clients []*lock.Client
}

// New starts a server.
func New() *Server {
	s := &Server{started: time.Now(), locks: map[string]*state{}, conns: map[*conn]bool{}}
	s.timer = time.AfterFunc(time.Hour, s.tick)
	return s
}

// Client makes a client of the server. It is closed with the server. Client panics if an option makes no sense.
func (s *Server) Client(options ...lock.ClientOption) *lock.Client {
	c, err := lock.Open(s.Deployment(), options...)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = append(s.clients, c)
	return c
}

// Deployment is for lock.Open and lock.OpenQuorum.
func (s *Server) Deployment() lock.Deployment {
	return lock.Deployment{Addr: "locktest", Dial: s.dial, Clock: s.now}
}

// Close closes the clients and all connections.
func (s *Server) Close() {
	s.mu.Lock()
	clients := s.clients
	s.clients = nil
	s.mu.Unlock()
	for _, c := range clients {
		_ = c.Close()
	}
	s.mu.Lock()
	s.closed = true
	s.timer.Stop()
	s.mu.Unlock()
	s.Disconnect()
}

// Advance lets this time pass at once, for the server and for its clients: leases end, waits do not.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
	s.settle()
}

// Break removes a lock, as an operator does with DEL.
func (s *Server) Break(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.locks[key]; there {
		delete(s.locks, key)
		s.changed(key)
		s.settle()
	}
}

// Disconnect breaks all connections. Clients connect again.
func (s *Server) Disconnect() {
	s.mu.Lock()
	conns := s.conns
	s.conns = map[*conn]bool{}
	s.mu.Unlock()
	for c := range conns {
		_ = c.nc.Close()
	}
}

// Fail answers each LOCK command with this error, such as "READONLY not now", until it is called with "".
func (s *Server) Fail(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = text
}

// Holders are the owners that hold a lock, by fence.
func (s *Server) Holders(key string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	var owners []string
	if state := s.locks[key]; state != nil {
		for _, h := range state.holders {
			owners = append(owners, h.owner)
		}
	}
	return owners
}

// Waiters is how many wait for a lock.
func (s *Server) Waiters(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	count := 0
	for _, w := range s.waiters {
		if slices.Contains(w.keys, key) {
			count++
		}
	}
	return count
}

// now is the server's clock.
func (s *Server) now() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock()
}

func (s *Server) clock() time.Duration {
	return time.Since(s.started) + s.ahead
}

var errClosed = errors.New("the server in memory was closed")

func (s *Server) dial(ctx context.Context, _ string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	s.lastID++
	c := &conn{
		server: s, nc: far, id: s.lastID, watched: map[string]bool{},
		wake: make(chan struct{}, 1), commands: make(chan []string, 1024), done: make(chan struct{}),
	}
	s.conns[c] = true
	go c.read()
	go c.execute()
	go c.write()
	return near, nil
}

// tick is called when something is due.
func (s *Server) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.settle()
	}
}

// gone is called when a connection has ended.
func (s *Server) gone(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.waiters = slices.DeleteFunc(s.waiters, func(w *waiter) bool { return w.conn == c })
	for key, state := range s.locks {
		for _, h := range slices.Clone(state.holders) {
			if h.session == c {
				s.end(key, state, h, h.delay)
			}
		}
	}
	s.settle()
}

// changed tells those who looked at a lock that it changed.
func (s *Server) changed(key string) {
	for c := range s.conns {
		if c.watched[key] {
			delete(c.watched, key)
			c.push(key)
		}
	}
}
