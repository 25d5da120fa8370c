package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"example.com/redis-lock/clients/go/internal/core"
)

// LostError says that a connection failed, or could not be made.
type LostError struct {
	Addr string
	Err  error
}

func (e *LostError) Error() string { return fmt.Sprintf("%s: %v", e.Addr, e.Err) }

// Unwrap is what the operating system or the peer said.
func (e *LostError) Unwrap() error { return e.Err }

// Call is a batch of commands that was posted.
type Call struct {
	done    chan struct{}
	want    int
	replies []any
	err     error
}

// Done is closed when all replies are there, or never will be.
func (c *Call) Done() <-chan struct{} { return c.done }

// Replies is what the server answered, one reply for each command, once Done is closed. The error is a *[LostError].
func (c *Call) Replies() ([]any, error) { return c.replies, c.err }

// Last is the last reply. A refusal is an error.
func (c *Call) Last() (any, error) {
	if c.err != nil {
		return nil, c.err
	}
	last := c.replies[len(c.replies)-1]
	if refusal, ok := last.(*core.Refusal); ok {
		return nil, refusal
	}
	return last, nil
}

// Wait waits for the replies until ctx ends.
func (c *Call) Wait(ctx context.Context) ([]any, error) {
	select {
	case <-c.done:
		return c.replies, c.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Conn is a connection. Commands of any number of goroutines go out in the order in which they are posted, and nobody
// waits for replies of others. It never gives up by itself: whoever knows that the server answers elsewhere closes it.
type Conn struct {
	nc     net.Conn
	addr   string
	onPush func(args []any)

	mu      sync.Mutex
	out     []byte
	spare   []byte
	pending []*Call
	err     *LostError
	onClose []func()

	wake   chan struct{}
	closed chan struct{}
}

// NewConn takes over a network connection. onPush is called, by one goroutine, with what the server sends without being
// asked; it may be nil.
func NewConn(nc net.Conn, addr string, onPush func(args []any)) *Conn {
	c := &Conn{nc: nc, addr: addr, onPush: onPush, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	go c.write()
	go c.read()
	return c
}

// RemoteAddr is where it leads.
func (c *Conn) RemoteAddr() string { return c.nc.RemoteAddr().String() }

// Closed is closed when the connection is.
func (c *Conn) Closed() <-chan struct{} { return c.closed }

// IsClosed says whether the connection is closed.
func (c *Conn) IsClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// OnClose calls f when the connection is closed, or at once if it is already.
func (c *Conn) OnClose(f func()) {
	c.mu.Lock()
	if c.err == nil {
		c.onClose = append(c.onClose, f)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	f()
}

// Post sends commands behind those that were posted before. It does not block.
func (c *Conn) Post(commands ...core.Command) *Call {
	call := &Call{done: make(chan struct{}), want: len(commands)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		call.err = c.err
		close(call.done)
		return call
	}
	for _, command := range commands {
		c.out = appendCommand(c.out, command)
	}
	c.pending = append(c.pending, call)
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return call
}

// Owes is how many batches are not answered.
func (c *Conn) Owes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending)
}

// Close closes the connection. What was not answered fails with this reason.
func (c *Conn) Close(reason error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = &LostError{c.addr, reason}
	pending, onClose := c.pending, c.onClose
	c.pending, c.onClose, c.out = nil, nil, nil
	close(c.closed)
	c.mu.Unlock()
	_ = c.nc.Close()
	for _, call := range pending {
		call.err = c.err
		close(call.done)
	}
	for _, f := range onClose {
		f()
	}
}

func (c *Conn) write() {
	for {
		select {
		case <-c.wake:
		case <-c.closed:
			return
		}
		c.mu.Lock()
		out := c.out
		c.out = c.spare[:0]
		c.mu.Unlock()
		if _, err := c.nc.Write(out); err != nil {
			c.Close(err)
			return
		}
		if cap(out) > 1<<20 {
			out = nil
		}
		c.spare = out
	}
}

func (c *Conn) read() {
	from := bufio.NewReader(c.nc)
	for {
		reply, err := read(from, 0)
		if err == nil {
			err = c.took(reply)
		}
		if err != nil {
			c.Close(err)
			return
		}
	}
}

var errUnasked = errors.New("the server answered what it was not asked")

func (c *Conn) took(reply any) error {
	if pushed, ok := reply.(push); ok {
		if c.onPush != nil {
			c.onPush(pushed)
		}
		return nil
	}
	c.mu.Lock()
	if len(c.pending) == 0 {
		c.mu.Unlock()
		return errUnasked
	}
	call := c.pending[0]
	call.replies = append(call.replies, reply)
	complete := len(call.replies) == call.want
	if complete {
		c.pending[0] = nil
		c.pending = c.pending[1:]
	}
	c.mu.Unlock()
	if complete {
		close(call.done)
	}
	return nil
}
