package nodes

import (
	"context"
	"errors"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
	"example.com/redis-lock/clients/go/internal/wire"
)

// monitorPatience is after how many unanswered PINGs the connection that watches is given up for a new one. Perhaps only the
// connection is dead.
const monitorPatience = 5

// Alive says whether the server answers on another connection than the one that is silent. One probe serves all who ask.
func (n *Node) Alive(ctx context.Context) bool {
	return n.aliveSince(ctx, time.Now().Add(-n.settings.ProbeInterval/2))
}

// aliveSince goes by a probe that began at that time or later.
func (n *Node) aliveSince(ctx context.Context, since time.Time) bool {
	for ctx.Err() == nil {
		n.mu.Lock()
		if !n.probedAt.Before(since) {
			defer n.mu.Unlock()
			return n.alive
		}
		probing := n.probing
		if probing == nil {
			probing = make(chan struct{})
			n.probing = probing
			go n.probe(probing)
		}
		n.mu.Unlock()
		select {
		case <-probing:
		case <-ctx.Done():
		}
	}
	return true // Nobody knows, and nobody waits for it.
}

func (n *Node) probe(done chan<- struct{}) {
	began := time.Now()
	alive := n.answers()
	n.mu.Lock()
	n.alive, n.probedAt, n.probing = alive, began, nil
	n.mu.Unlock()
	close(done)
}

// answers sends PING over the connection that watches.
func (n *Node) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), n.settings.RequestTimeout)
	defer cancel()
	monitor, err := n.watch(ctx)
	if err != nil {
		return false
	}
	call := monitor.Post(core.Command{"PING"})
	if _, err = call.Wait(ctx); err == nil {
		return true
	}
	if monitor.Owes() >= monitorPatience {
		monitor.Close(errSilent)
	}
	return false
}

func (n *Node) watch(ctx context.Context) (*wire.Conn, error) {
	return n.monitor.get(ctx, func(ctx context.Context) (*wire.Conn, bool, error) {
		return n.open(ctx, false)
	})
}

// Examine closes a connection that has no future, so that what waits on it goes elsewhere: the server answers over another
// one, or is not the primary any more. It is for a connection that owes a reply for long.
func (n *Node) Examine(ctx context.Context, router Router, conn *wire.Conn, slot int) {
	if conn.IsClosed() {
		return
	}
	if n.Alive(ctx) {
		posted := time.Now()
		ping := conn.Post(core.Command{"PING"})
		limited, cancel := context.WithTimeout(ctx, n.settings.RequestTimeout)
		defer cancel()
		if _, err := ping.Wait(limited); err != nil && ctx.Err() == nil && n.aliveSince(ctx, posted) && ctx.Err() == nil {
			conn.Close(errors.New("the server answers, but not on this connection"))
		}
		return
	}
	if router.Elsewhere(ctx, n, slot) {
		conn.Close(errMoved)
	}
}

// ExamineLater does the same in the background, one at a time for each node.
func (n *Node) ExamineLater(router Router, conn *wire.Conn, slot int) {
	if !n.examined.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer n.examined.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), 5*n.settings.RequestTimeout)
		defer cancel()
		n.Examine(ctx, router, conn, slot)
	}()
}

var errMoved = errors.New("another server is the primary now")

// Forget is what the planted fault forget-all does: after a time-out it throws away every connection.
func (n *Node) Forget() {
	n.mu.Lock()
	conns := n.idle
	for conn := range n.out {
		conns = append(conns, conn)
	}
	n.idle, n.out = nil, map[*wire.Conn]bool{}
	n.mu.Unlock()
	n.shared.close(errSilent)
	n.monitor.close(errSilent)
	for _, conn := range conns {
		conn.Close(errSilent)
	}
}
