package nodes

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"example.com/redis-lock/clients/go/internal/wire"
)

// AnySlot stands for no slot in particular.
const AnySlot = -1

// Router knows the primary of each slot.
type Router interface {
	// Node is the primary. The error is a *wire.LostError if nobody knows it.
	Node(ctx context.Context, slot int) (*Node, error)
	// At is the node at an address to which a server redirects.
	At(addr string) *Node
	// Doubt says that the node failed, or said that it is not the primary.
	Doubt(n *Node)
	// Elsewhere asks others whether the primary of the slot is another node by now.
	Elsewhere(ctx context.Context, n *Node, slot int) bool
	// Moved says that a server told where the slot is.
	Moved(slot int, n *Node)
	// Primaries are all primaries.
	Primaries(ctx context.Context) ([]*Node, error)
	// Opened is how many connections were opened.
	Opened() int64
	// Close closes all nodes.
	Close(reason error)
}

// Single is a router for one primary.
type Single struct {
	settings *Settings
	addr     string
	moving   bool
	opened   Opened
	pacer    pacer

	mu       sync.Mutex
	node     *Node
	doubtful bool
	closed   error
}

// NewSingle makes a router for the primary at this address. If it is moving, the dialer decides where the primary is, as
// one that asks Sentinels does.
func NewSingle(settings *Settings, addr string, moving bool) *Single {
	s := &Single{settings: settings, addr: addr, moving: moving}
	s.node = s.newNode()
	return s
}

func (s *Single) newNode() *Node {
	n := newNode(s.addr, s.settings, &s.opened)
	if s.moving {
		n.arrived = s.arrived
	}
	return n
}

// arrived replaces the node if a connection led to another server than the ones before.
func (s *Single) arrived(n *Node, remote string) error {
	if was := n.Remote(); was == "" || was == remote {
		return nil
	}
	s.mu.Lock()
	if s.node == n && s.closed == nil {
		s.node = s.newNode()
	}
	s.mu.Unlock()
	go n.Close(errMoved)
	return errMoved
}

// Node is the primary.
func (s *Single) Node(ctx context.Context, _ int) (*Node, error) {
	s.mu.Lock()
	n, doubtful, closed := s.node, s.doubtful && s.moving, s.closed
	s.mu.Unlock()
	if closed != nil {
		return nil, &wire.LostError{Addr: s.addr, Err: closed}
	}
	if doubtful && s.Elsewhere(ctx, n, AnySlot) {
		s.mu.Lock()
		n = s.node
		s.mu.Unlock()
	}
	return n, nil
}

// At is the only node.
func (s *Single) At(string) *Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.node
}

// Doubt lets the next one who needs the primary see where it is.
func (s *Single) Doubt(n *Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n == s.node {
		s.doubtful = true
	}
}

// Elsewhere makes a connection and sees where it leads.
func (s *Single) Elsewhere(ctx context.Context, n *Node, _ int) bool {
	if !s.moving {
		return false
	}
	s.pacer.once(ctx, func(ctx context.Context) {
		s.mu.Lock()
		n := s.node
		s.mu.Unlock()
		conn, _, err := n.open(ctx, false)
		if err == nil {
			n.GiveBack(conn)
			s.mu.Lock()
			s.doubtful = false
			s.mu.Unlock()
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.node != n
}

// Moved does not happen.
func (s *Single) Moved(int, *Node) {}

// Primaries is the one primary.
func (s *Single) Primaries(ctx context.Context) ([]*Node, error) {
	n, err := s.Node(ctx, AnySlot)
	return []*Node{n}, err
}

// Opened is how many connections were opened.
func (s *Single) Opened() int64 { return s.opened.Load() }

// Close closes the node.
func (s *Single) Close(reason error) {
	s.mu.Lock()
	s.closed = reason
	n := s.node
	s.mu.Unlock()
	n.Close(reason)
}

// pacer does something seldom, and once for all who want it.
type pacer struct {
	mu    sync.Mutex
	going chan struct{}
	last  time.Time
}

// paceMin is the least time between two looks. Who comes earlier goes by what was seen.
const paceMin = 100 * time.Millisecond

func (p *pacer) once(ctx context.Context, look func(ctx context.Context)) {
	p.mu.Lock()
	going := p.going
	if going == nil {
		if time.Since(p.last) < paceMin+rand.N(paceMin) {
			p.mu.Unlock()
			return
		}
		going = make(chan struct{})
		p.going = going
		go func() {
			look(context.WithoutCancel(ctx))
			p.mu.Lock()
			p.last, p.going = time.Now(), nil
			p.mu.Unlock()
			close(going)
		}()
	}
	p.mu.Unlock()
	select {
	case <-going:
	case <-ctx.Done():
	}
}
