package lock

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
	"example.com/redis-lock/clients/go/internal/nodes"
	"example.com/redis-lock/clients/go/internal/wire"
)

const (
	// idleMax is how many connections of ended waits a client keeps for each server.
	idleMax = 8
	// closeMax bounds how long Close takes.
	closeMax = 3 * time.Second
)

// Client takes locks. Any number of goroutines may use it. Make one for each deployment, and keep it.
type Client struct {
	options clientOptions
	prefix  string
	now     func() time.Duration
	router  nodes.Router
	cluster bool
	keeper  *keeper
	waits   chan struct{}
	gates   gates
	// contended are locks for which the server's queue is joined at once: asking first would cost a request more.
	contended contention

	// closing ends when the client is closed, with ErrClosed as its cause.
	closing context.Context
	close   context.CancelCauseFunc
	settle  tally // Acquisitions, and withdrawals in the background.

	watchMu  sync.Mutex
	watchers map[string]map[*watcher]struct{}
}

// Open makes a client for a deployment. Users of go-redis call [New].
func Open(d Deployment, options ...ClientOption) (*Client, error) {
	if err := d.validate(); err != nil {
		return nil, err
	}
	o, err := newClientOptions(options)
	if err != nil {
		return nil, err
	}
	prefix, err := core.OwnerPrefix(o.label)
	if err != nil {
		return nil, usage("%v", err)
	}
	c := &Client{options: o, prefix: prefix, now: d.Clock, cluster: len(d.Cluster) > 0}
	if c.now == nil {
		c.now = clock()
	}
	c.closing, c.close = context.WithCancelCause(context.Background())
	c.waits = make(chan struct{}, o.maxWaits)
	c.gates.byKey = map[string]*gate{}
	c.watchers = map[string]map[*watcher]struct{}{}
	c.keeper = newKeeper(c.now)
	c.keeper.renew, c.keeper.check, c.keeper.watches = c.renewAll, c.checkAll, !o.noTracking
	settings := &nodes.Settings{
		Dial:           d.Dial,
		Credentials:    d.Credentials,
		Greeting:       wire.Greeting{DB: d.DB, Name: core.ConnectionName(prefix), OldProtocol: d.OldProtocol, Version: Version},
		RequestTimeout: o.requestTimeout,
		ProbeInterval:  o.probeInterval,
		IdleMax:        idleMax,
		Tracking:       !o.noTracking,
		Changed:        c.changed,
		Unwatched:      c.unwatched,
	}
	if c.cluster {
		c.router = nodes.NewCluster(settings, d.Cluster)
	} else {
		c.router = nodes.NewSingle(settings, d.Addr, d.Moving)
	}
	return c, nil
}

// clock is the clock of holds.
func clock() func() time.Duration {
	if core.Fault("no-clock") {
		return clockOfTimers()
	}
	return core.Now
}

// clockOfTimers goes on only while this process runs. It is what the planted fault no-clock goes by.
func clockOfTimers() func() time.Duration {
	var mu sync.Mutex
	var now time.Duration
	const step = 10 * time.Millisecond
	go func() {
		for {
			time.Sleep(step)
			mu.Lock()
			now += step
			mu.Unlock()
		}
	}()
	return func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
}

// Close releases all holds, ends all waits with [ErrClosed], and closes the connections. It takes a few seconds at most,
// also if a server does not answer.
func (c *Client) Close() error {
	if c.closing.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeMax)
	defer cancel()
	var releasing sync.WaitGroup
	// Those that are acquired meanwhile are released as withdrawals.
	c.close(ErrClosed)
	for _, h := range c.keeper.all() {
		releasing.Add(1)
		go func() {
			defer releasing.Done()
			c.giveUp(ctx, h)
		}()
	}
	releasing.Wait() // Its time is bounded by ctx.
	c.settle.wait(ctx)
	c.keeper.close()
	c.router.Close(ErrClosed)
	return nil
}

// giveUp releases a hold because the client is closed.
func (c *Client) giveUp(ctx context.Context, h *Hold) {
	if !h.finish(LostClosed) {
		return
	}
	c.keeper.remove(h)
	_, _, err := c.execute(ctx, h.slot, h.request.ReleaseHold(h.Fence(), 0))
	if err != nil {
		c.options.logger.Warn("a lock could not be released", "lock", h.request.Name(), "owner", h.Owner(), "error", err)
	}
	h.claim.free()
}

// completeAddr is an address to which the node at another address redirects. Its host is empty if the two share it.
func completeAddr(addr, from string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host != "" {
		return addr
	}
	host, _, _ = net.SplitHostPort(from)
	return net.JoinHostPort(host, port)
}

// ConnectionsOpened is how many connections the client has opened so far.
func (c *Client) ConnectionsOpened() int64 { return c.router.Opened() }

func (c *Client) slot(key string) int {
	if c.cluster {
		return core.Slot(key)
	}
	return nodes.AnySlot
}

// withClosing is a context that also ends when the client is closed.
func (c *Client) withClosing(ctx context.Context) (context.Context, context.CancelFunc) {
	both, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.closing, func() { cancel(ErrClosed) })
	return both, func() {
		stop()
		cancel(context.Canceled)
	}
}

func (c *Client) backoff() *core.Backoff {
	return core.NewBackoff(20*time.Millisecond, time.Second)
}

// execute sends a command that may be sent twice, until it is answered or ctx ends. It says how often it was sent.
func (c *Client) execute(ctx context.Context, slot int, command core.Command) (reply any, sent int, err error) {
	backoff := c.backoff()
	var asking *nodes.Node
	var refusal *core.Refusal
	var failure error
	for {
		var node *nodes.Node
		node, reply, err = c.executeOnce(ctx, slot, command, asking)
		asking = nil
		if node != nil {
			sent++
		}
		if err == nil {
			return reply, sent, nil
		}
		var lost *wire.LostError
		switch {
		case errors.As(err, &refusal):
			if refusal.Class() != core.Passing {
				return nil, sent, serverError(refusal)
			}
			if node != nil {
				asking = c.redirect(node, refusal)
			}
		case errors.As(err, &lost):
			failure, refusal = err, nil
			if errors.Is(err, ErrClosed) {
				return nil, sent, ErrClosed
			}
		default:
			return nil, sent, c.unanswered(ctx, refusal, failure, err)
		}
		if asking != nil || refusal != nil && refusal.Code() == "MOVED" && sent < 4 {
			continue
		}
		if !pause(ctx, backoff.Pause()) {
			return nil, sent, c.unanswered(ctx, refusal, failure, context.Cause(ctx))
		}
	}
}

// unanswered is the error of what was not done in time.
func (c *Client) unanswered(ctx context.Context, refusal *core.Refusal, failure, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), ErrClosed):
		return ErrClosed
	case refusal != nil:
		e := serverError(refusal)
		e.cause = deadline(ctx)
		return e
	case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return context.Cause(ctx)
	case failure == nil:
		failure = err
	}
	return &UnreachableError{Err: failure, cause: deadline(ctx)}
}

// executeOnce returns the node if the command was sent.
func (c *Client) executeOnce(ctx context.Context, slot int, command core.Command, asking *nodes.Node) (*nodes.Node, any, error) {
	node := asking
	if node == nil {
		var err error
		if node, err = c.router.Node(ctx, slot); err != nil {
			return nil, nil, err
		}
	}
	conn, err := node.Shared(ctx)
	if err != nil {
		if ctx.Err() == nil {
			c.router.Doubt(node)
		}
		return nil, nil, err
	}
	commands := []core.Command{command}
	if asking != nil {
		commands = []core.Command{{"ASKING"}, command}
	}
	call := conn.Post(commands...)
	if err := c.await(ctx, node, conn, slot, call); err != nil {
		return node, nil, err
	}
	reply, err := call.Last()
	var lost *wire.LostError
	if errors.As(err, &lost) {
		c.router.Doubt(node)
	}
	return node, reply, err
}

// await waits for the replies over a shared connection until ctx ends. A server that takes long is examined.
func (c *Client) await(ctx context.Context, node *nodes.Node, conn *wire.Conn, slot int, call *wire.Call) error {
	select {
	case <-call.Done(): // The usual case, without a timer.
		return nil
	default:
	}
	timer := time.NewTimer(c.options.requestTimeout)
	defer timer.Stop()
	for {
		select {
		case <-call.Done():
			return nil
		case <-ctx.Done():
			if core.Fault("forget-all") {
				node.Forget()
			}
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				node.ExamineLater(c.router, conn, slot)
			}
			return context.Cause(ctx)
		case <-timer.C:
			if core.Fault("forget-all") {
				node.Forget()
			}
			node.Examine(ctx, c.router, conn, slot)
			timer.Reset(c.options.requestTimeout)
		}
	}
}

// redirect does what a refusal asks for. It returns the node to be asked with ASKING, if there is one.
func (c *Client) redirect(node *nodes.Node, refusal *core.Refusal) *nodes.Node {
	slot, addr, ok := refusal.Redirection()
	switch {
	case !ok:
		if refusal.Code() != "TRYAGAIN" && refusal.Code() != "LOADING" {
			c.router.Doubt(node)
		}
	case refusal.Code() == "ASK":
		return c.router.At(completeAddr(addr, node.Addr))
	default:
		c.router.Moved(slot, c.router.At(completeAddr(addr, node.Addr)))
	}
	return nil
}

// pause waits; false if ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// changed is told by servers that locks changed; nil: any may have.
func (c *Client) changed(keys []string) {
	c.keeper.changed(keys)
	c.watchMu.Lock()
	defer c.watchMu.Unlock()
	if keys == nil {
		for _, watchers := range c.watchers {
			poke(watchers)
		}
	}
	for _, key := range keys {
		poke(c.watchers[key])
	}
}

// unwatched is told that a server can no longer tell of changes over this connection.
func (c *Client) unwatched(conn *wire.Conn) {
	c.keeper.unwatched(conn)
	c.watchMu.Lock()
	defer c.watchMu.Unlock()
	for _, watchers := range c.watchers {
		poke(watchers)
	}
}

// watcher is poked when its lock may have changed.
type watcher struct {
	poked chan struct{}
}

func poke(watchers map[*watcher]struct{}) {
	for w := range watchers {
		select {
		case w.poked <- struct{}{}:
		default:
		}
	}
}

func (c *Client) watch(key string) (w *watcher, stop func()) {
	w = &watcher{make(chan struct{}, 1)}
	c.watchMu.Lock()
	defer c.watchMu.Unlock()
	if c.watchers[key] == nil {
		c.watchers[key] = map[*watcher]struct{}{}
	}
	c.watchers[key][w] = struct{}{}
	return w, func() {
		c.watchMu.Lock()
		defer c.watchMu.Unlock()
		delete(c.watchers[key], w)
		if len(c.watchers[key]) == 0 {
			delete(c.watchers, key)
		}
	}
}
