// Package nodes knows the servers, and which of them is the primary of a key. For each server it keeps one connection that
// all commands share, one that watches whether the server still answers, and those of waits.
package nodes

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
	"example.com/redis-lock/clients/go/internal/wire"
)

// Settings are what all nodes of a client have in common.
type Settings struct {
	// Dial connects to an address. What it connects to need not have that address, if the dialer knows better.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Credentials are asked for with each connection. May be nil.
	Credentials func(ctx context.Context) (username, password string, err error)
	Greeting    wire.Greeting
	// RequestTimeout is how long a server may take to answer before it is doubted.
	RequestTimeout time.Duration
	// ProbeInterval is how often a server is asked whether it is alive while something waits for it.
	ProbeInterval time.Duration
	// IdleMax is how many connections of ended waits are kept for the next.
	IdleMax int
	// Tracking asks the server to tell of changes.
	Tracking bool
	// Changed is called with the keys of which a server says that they changed; nil: any may have.
	Changed func(keys []string)
	// Unwatched is called when a connection is lost over which a server told of changes.
	Unwatched func(conn *wire.Conn)
}

// ErrClosed says that the client was closed.
var ErrClosed = errors.New("the client was closed")

var (
	errGone   = errors.New("this server is not used any more")
	errSilent = errors.New("the server did not answer in time")
)

// Opened counts connections.
type Opened struct{ atomic.Int64 }

// Node is a server.
type Node struct {
	// Addr is what is dialed.
	Addr     string
	settings *Settings
	opened   *Opened
	// arrived is told where a new connection led. If it returns an error the connection is not used. May be nil.
	arrived func(n *Node, remote string) error

	shared, monitor line

	mu      sync.Mutex
	remote  string
	idle    []*wire.Conn
	out     map[*wire.Conn]bool
	gone    bool
	failing bool

	probing chan struct{} // Closed when the probe that goes on has ended; nil if none goes on.
	// probedAt is when the last probe began.
	probedAt time.Time
	alive    bool
	examined atomic.Bool
}

// line is a connection that is made when it is needed, once for all who need it.
type line struct {
	mu     sync.Mutex
	conn   *wire.Conn
	making chan struct{}
	err    error
	pushes bool
}

func newNode(addr string, settings *Settings, opened *Opened) *Node {
	return &Node{Addr: addr, settings: settings, opened: opened, out: map[*wire.Conn]bool{}, alive: true}
}

// Shared is the connection for commands that do not wait.
func (n *Node) Shared(ctx context.Context) (*wire.Conn, error) {
	return n.shared.get(ctx, func(ctx context.Context) (*wire.Conn, bool, error) {
		return n.open(ctx, true)
	})
}

// Current is the shared connection if there is one, else nil.
func (n *Node) Current() *wire.Conn {
	n.shared.mu.Lock()
	defer n.shared.mu.Unlock()
	if n.shared.conn == nil || n.shared.conn.IsClosed() {
		return nil
	}
	return n.shared.conn
}

// Tracks says whether the server tells of changes over this connection.
func (n *Node) Tracks(conn *wire.Conn) bool {
	n.shared.mu.Lock()
	defer n.shared.mu.Unlock()
	return n.shared.conn == conn && n.shared.pushes && !conn.IsClosed()
}

func (l *line) get(ctx context.Context, open func(context.Context) (*wire.Conn, bool, error)) (*wire.Conn, error) {
	l.mu.Lock()
	if l.conn != nil && !l.conn.IsClosed() {
		defer l.mu.Unlock()
		return l.conn, nil
	}
	making := l.making
	if making == nil {
		making = make(chan struct{})
		l.making = making
		// It goes on when the caller's context ends: others wait for it too.
		go func() {
			conn, pushes, err := open(context.WithoutCancel(ctx))
			l.mu.Lock()
			l.conn, l.pushes, l.err, l.making = conn, pushes, err, nil
			l.mu.Unlock()
			close(making)
		}()
	}
	l.mu.Unlock()
	select {
	case <-making:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		if l.err == nil {
			return nil, &wire.LostError{Addr: "redis", Err: errGone}
		}
		return nil, l.err
	}
	return l.conn, nil
}

func (l *line) close(reason error) {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn != nil {
		conn.Close(reason)
	}
}

// Borrow is a connection of the caller's own: an idle one, or a new one.
func (n *Node) Borrow(ctx context.Context) (*wire.Conn, error) {
	n.mu.Lock()
	for len(n.idle) > 0 {
		conn := n.idle[len(n.idle)-1]
		n.idle = n.idle[:len(n.idle)-1]
		if !conn.IsClosed() {
			n.out[conn] = true
			n.mu.Unlock()
			return conn, nil
		}
	}
	failing := n.failing
	n.mu.Unlock()
	if failing {
		// One for all finds out whether the server is back.
		if _, err := n.Shared(ctx); err != nil {
			return nil, err
		}
	}
	conn, _, err := n.open(ctx, false)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	gone := n.gone
	if !gone {
		n.out[conn] = true
	}
	n.mu.Unlock()
	if gone {
		conn.Close(errGone)
		return nil, &wire.LostError{Addr: n.Addr, Err: errGone}
	}
	return conn, nil
}

// GiveBack returns a borrowed connection. One that still owes replies is closed.
func (n *Node) GiveBack(conn *wire.Conn) {
	n.mu.Lock()
	delete(n.out, conn)
	keep := !n.gone && !conn.IsClosed() && conn.Owes() == 0 && len(n.idle) < n.settings.IdleMax
	if keep {
		n.idle = append(n.idle, conn)
	}
	n.mu.Unlock()
	if !keep {
		conn.Close(errors.New("it is not needed any more"))
	}
}

// open makes a connection. Its time is bounded also if that of ctx is not.
func (n *Node) open(ctx context.Context, shared bool) (conn *wire.Conn, pushes bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*n.settings.RequestTimeout, errSilent)
	defer cancel()
	conn, pushes, err = n.dial(ctx, shared)
	n.mu.Lock()
	if err == nil {
		n.failing = false
	} else if context.Cause(ctx) == nil || errors.Is(context.Cause(ctx), errSilent) {
		n.failing = true
	}
	n.mu.Unlock()
	return conn, pushes, err
}

func (n *Node) dial(ctx context.Context, shared bool) (*wire.Conn, bool, error) {
	lost := func(err error) (*wire.Conn, bool, error) {
		var refusal *core.Refusal
		var known *wire.LostError
		if errors.As(err, &refusal) || errors.As(err, &known) {
			return nil, false, err
		}
		return nil, false, &wire.LostError{Addr: n.Addr, Err: err}
	}
	n.mu.Lock()
	gone := n.gone
	n.mu.Unlock()
	if gone {
		return lost(errGone)
	}
	n.opened.Add(1)
	nc, err := n.connect(ctx)
	if err != nil {
		return lost(err)
	}
	remote := nc.RemoteAddr().String()
	if n.arrived != nil {
		if err := n.arrived(n, remote); err != nil {
			_ = nc.Close()
			return lost(err)
		}
	}
	var onPush func([]any)
	if shared {
		onPush = n.pushed
	}
	conn := wire.NewConn(nc, n.Addr, onPush)
	greeting := n.settings.Greeting
	if n.settings.Credentials != nil {
		greeting.Username, greeting.Password, err = n.settings.Credentials(ctx)
		if err != nil {
			conn.Close(err)
			return lost(err)
		}
	}
	pushes, err := conn.Greet(ctx, greeting)
	if err == nil && shared && pushes && n.settings.Tracking {
		pushes, err = n.track(ctx, conn)
	}
	if err != nil {
		conn.Close(err)
		return lost(err)
	}
	n.mu.Lock()
	n.remote = remote
	n.mu.Unlock()
	return conn, pushes && n.settings.Tracking, nil
}

// connect ends with ctx, whatever the dialer does.
func (n *Node) connect(ctx context.Context) (net.Conn, error) {
	type dialed struct {
		nc  net.Conn
		err error
	}
	result := make(chan dialed, 1)
	go func() {
		nc, err := n.settings.Dial(ctx, n.Addr)
		result <- dialed{nc, err}
	}()
	select {
	case d := <-result:
		return d.nc, d.err
	case <-ctx.Done():
		go func() {
			if d := <-result; d.err == nil {
				_ = d.nc.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// track asks to be told of changes. A server or a user without that works as well.
func (n *Node) track(ctx context.Context, conn *wire.Conn) (bool, error) {
	replies, err := conn.Post(core.Command{"CLIENT", "TRACKING", "ON"}).Wait(ctx)
	if err != nil {
		return false, err
	}
	if _, refused := replies[0].(*core.Refusal); refused {
		return false, nil
	}
	conn.OnClose(func() { n.settings.Unwatched(conn) })
	return true, nil
}

func (n *Node) pushed(args []any) {
	if len(args) != 2 || args[0] != "invalidate" {
		return
	}
	names, _ := args[1].([]any)
	var keys []string
	for _, name := range names {
		if key, ok := name.(string); ok {
			keys = append(keys, key)
		}
	}
	n.settings.Changed(keys)
}

// Remote is where the last connection led, or "".
func (n *Node) Remote() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.remote
}

// Close closes all connections. What waits on them fails with the reason.
func (n *Node) Close(reason error) {
	n.mu.Lock()
	n.gone = true
	conns := n.idle
	for conn := range n.out {
		conns = append(conns, conn)
	}
	n.idle, n.out = nil, map[*wire.Conn]bool{}
	n.mu.Unlock()
	n.shared.close(reason)
	n.monitor.close(reason)
	for _, conn := range conns {
		conn.Close(reason)
	}
}

// IsGone says whether the node was closed.
func (n *Node) IsGone() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.gone
}
