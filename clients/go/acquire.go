package lock

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
	"example.com/redis-lock/clients/go/internal/nodes"
	"example.com/redis-lock/clients/go/internal/wire"
)

// checkAfter is after how many probes of a silent wait the server is asked whether it granted the lock. Its answer may have
// been lost on a connection that died without a word.
const checkAfter = 4

// attempt is what of one acquisition may be on its way to a server.
type attempt struct {
	client *Client
	spec   *spec
	claim  *claim
	slot   int
	wait   bool
	began  time.Time

	node *nodes.Node
	conn *wire.Conn
	own  bool // Whether the connection is the attempt's own.
	call *wire.Call
	// onWay says that an ACQUIRE may be at the server, or on its way over conn.
	onWay bool
	// stray says the same for one over a connection that was lost.
	stray  bool
	sent   time.Duration
	posted time.Time

	asking  *nodes.Node
	refusal *core.Refusal
	failure error
}

// acquire asks until the lock is granted or ctx ends, whatever happens to the servers. If it does not wait, ctx bounds how
// long the answer may take.
func (c *Client) acquire(ctx context.Context, s *spec, owner *Owner, wait bool) (*Hold, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	c.settle.begin()
	defer c.settle.end()
	request := &s.request
	request.Owner = owner.nameOr(c.prefix)
	a := &attempt{client: c, spec: s, slot: c.slot(request.Keys[0]), wait: wait, began: time.Now()}
	asking, stop := c.withClosing(ctx)
	defer stop()
	if !wait {
		var cancel context.CancelFunc
		asking, cancel = context.WithTimeout(asking, c.options.requestTimeout)
		defer cancel()
	}
	hold, err := a.run(asking, ctx, owner, wait)
	waited := time.Since(a.began)
	if err != nil {
		c.options.tell(func(h Hooks) {
			if h.Refused != nil {
				h.Refused(request.Name(), request.Owner, waited, err)
			}
		})
		return nil, err
	}
	c.options.tell(func(h Hooks) {
		if h.Acquired != nil {
			h.Acquired(request.Name(), request.Owner, waited)
		}
	})
	return hold, nil
}

func (a *attempt) run(ctx, caller context.Context, owner *Owner, wait bool) (*Hold, error) {
	c := a.client
	var err error
	if a.claim, err = owner.claim(ctx, a.spec.request.Keys); err != nil {
		return nil, a.gaveUp(ctx, err)
	}
	if wait && c.options.shareWaits {
		leave, err := c.gates.enter(ctx, &a.spec.request)
		if err != nil {
			a.claim.free()
			return nil, a.gaveUp(ctx, err)
		}
		defer leave()
	}
	fences, err := a.ask(ctx, wait)
	if err != nil {
		err = a.gaveUp(ctx, err)
		a.abandon()
		return nil, err
	}
	hold, err := a.hold(ctx, caller, fences)
	if err == nil && ctx.Err() != nil && wait {
		err = context.Cause(ctx)
	}
	if err != nil {
		if hold != nil {
			hold.finish(LostReleased)
		}
		a.onWay = true
		err = a.gaveUp(ctx, err)
		a.abandon()
		return nil, err
	}
	hold.claim = a.claim
	if a.own && !a.spec.request.Session {
		a.giveBack()
	}
	c.keeper.add(hold)
	if hold.session != nil {
		hold.session.OnClose(func() { c.lose(hold, LostSession) })
	}
	if c.closing.Err() != nil {
		c.giveUp(context.WithoutCancel(ctx), hold)
		return nil, ErrClosed
	}
	return hold, nil
}

// ask returns the fences. Errors are refusals that do not pass, the end of ctx, and errTaken.
func (a *attempt) ask(ctx context.Context, wait bool) ([]int64, error) {
	c := a.client
	own := a.spec.request.Session || a.spec.durable > 0
	key := a.spec.request.Keys[0]
	inQueue := wait && c.contended.has(key)
	backoff := c.backoff()
	for tries := 0; ; tries++ {
		var err error
		var reply any
		if own || inQueue {
			reply, err = a.askAlone(ctx, wait)
		} else {
			reply, err = a.askShared(ctx)
		}
		if err == nil {
			fences, err := core.Fences(reply, len(a.spec.request.Keys))
			if err != nil || fences != nil {
				return fences, err
			}
			if !wait {
				return nil, errTaken
			}
			// The first answer came without waiting. A later one means that this wait was cancelled by somebody else, or
			// that it was so long that it is asked for again.
			if (own || inQueue) && !pause(ctx, backoff.Pause()) {
				return nil, context.Cause(ctx)
			}
			inQueue = true
			c.contended.note(key)
			a.failure, a.refusal = nil, nil
			continue
		}
		if !a.outlives(ctx, err) {
			return nil, err
		}
		inQueue = false // The shared connection shows first whether the server is back.
		if a.asking != nil || a.refusal != nil && a.refusal.Code() == "MOVED" && tries < 4 {
			continue
		}
		if !pause(ctx, beforeEnd(ctx, backoff.Pause())) {
			return nil, context.Cause(ctx)
		}
	}
}

// beforeEnd shortens a pause that would last until the deadline, so that a server that is back by then is asked once more.
func beforeEnd(ctx context.Context, pause time.Duration) time.Duration {
	deadline, ok := ctx.Deadline()
	if left := time.Until(deadline); ok && pause >= left && left > 20*time.Millisecond {
		return left * 4 / 5
	}
	return pause
}

var errTaken = errors.New("others hold the lock")

// outlives says whether the request is sent again after this error.
func (a *attempt) outlives(ctx context.Context, err error) bool {
	var refusal *core.Refusal
	var lost *wire.LostError
	a.asking = nil
	switch {
	case ctx.Err() != nil:
		return false
	case core.Fault("no-retry"):
		return false
	case errors.As(err, &refusal):
		if refusal.Class() != core.Passing {
			return false
		}
		a.refusal = refusal
		if a.node != nil {
			a.asking = a.client.redirect(a.node, refusal)
		}
		return true
	case errors.As(err, &lost):
		a.failure = err
		if a.node != nil {
			a.client.router.Doubt(a.node)
		}
		return true
	}
	return false
}

// askShared asks on the connection for all commands, without waiting for the lock.
func (a *attempt) askShared(ctx context.Context) (any, error) {
	if err := a.locate(ctx); err != nil {
		return nil, err
	}
	conn, err := a.node.Shared(ctx)
	if err != nil {
		return nil, err
	}
	a.conn, a.own = conn, false
	a.post(a.spec.request.Acquire())
	if err := a.client.await(ctx, a.node, conn, a.slot, a.call); err != nil {
		return nil, err
	}
	return a.answered()
}

// askAlone asks on a connection of its own. With wait it stands in the server's queue.
func (a *attempt) askAlone(ctx context.Context, wait bool) (any, error) {
	select {
	case a.client.waits <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if err := a.locate(ctx); err != nil {
		<-a.client.waits
		return nil, err
	}
	conn, err := a.node.Borrow(ctx)
	if err != nil {
		<-a.client.waits
		return nil, err
	}
	a.conn, a.own = conn, true
	command := a.spec.request.Acquire()
	if wait {
		left := core.Forever
		if deadline, ok := ctx.Deadline(); ok {
			left = time.Until(deadline)
		}
		command = a.spec.request.AcquireBlocking(left)
	}
	a.post(command)
	err = a.listen(ctx)
	if err != nil {
		return nil, err
	}
	reply, err := a.answered()
	if !a.onWay || err != nil {
		a.giveBack()
	}
	return reply, err
}

func (a *attempt) locate(ctx context.Context) error {
	a.node = a.asking
	if a.node != nil {
		return nil
	}
	node, err := a.client.router.Node(ctx, a.slot)
	a.node = node
	return err
}

func (a *attempt) post(command core.Command) {
	commands := []core.Command{command}
	if a.asking != nil {
		commands = []core.Command{{"ASKING"}, command}
	}
	a.sent, a.posted, a.onWay = a.client.now(), time.Now(), true
	a.call = a.conn.Post(commands...)
}

// answered reads the answer, and notes whether a grant may still be on its way.
func (a *attempt) answered() (any, error) {
	reply, err := a.call.Last()
	var refusal *core.Refusal
	switch {
	case errors.As(err, &refusal):
		// With UNBLOCKED it may have been granted the moment before.
		if refusal.Code() == "UNBLOCKED" {
			a.stray = true
		}
		a.onWay = false
	case err != nil:
		a.onWay, a.stray = false, true
	default:
		a.onWay = reply != nil
	}
	return reply, err
}

// listen waits for the answer of a wait, and looks meanwhile whether the server is still there.
func (a *attempt) listen(ctx context.Context) error {
	c := a.client
	interval := c.options.probeInterval
	ticker := time.NewTicker(interval + rand.N(interval/10+1))
	defer ticker.Stop()
	for probes := 1; ; probes++ {
		select {
		case <-a.call.Done():
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
		if !a.node.Alive(ctx) {
			if ctx.Err() == nil && c.router.Elsewhere(ctx, a.node, a.slot) {
				a.conn.Close(errors.New("another server is the primary now"))
			}
			continue
		}
		if probes%checkAfter == 0 && a.isGranted(ctx) {
			// The answer has had time to arrive when the next probe is due.
			if waited := pauseOr(ctx, a.call.Done(), c.options.requestTimeout); !waited {
				a.conn.Close(errors.New("the server granted the lock, but its answer did not arrive"))
			}
		}
	}
}

// isGranted asks the server whether the owner holds the lock.
func (a *attempt) isGranted(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, a.client.options.requestTimeout)
	defer cancel()
	reply, _, err := a.client.execute(ctx, a.slot, a.spec.request.Checks()[0])
	return err == nil && reply != nil && !a.spec.request.Several
}

// pauseOr waits; true if done is closed, or ctx ends, before.
func pauseOr(ctx context.Context, done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return true
	case <-timer.C:
		return false
	}
}

// giveBack returns the connection of its own, if there is one.
func (a *attempt) giveBack() {
	if !a.own {
		return
	}
	a.own = false
	a.node.GiveBack(a.conn)
	<-a.client.waits
}

// hold makes the hold of a grant.
func (a *attempt) hold(ctx, caller context.Context, fences []int64) (*Hold, error) {
	c, request := a.client, &a.spec.request
	h := newHold(caller, c, c.now, a.spec, fences, core.NewSpan(a.sent, request.Lease, request.Max))
	h.slot, h.stray = a.slot, a.stray
	if c.now()-a.sent > request.Lease/4 {
		// After a long wait the server says how much is left.
		if err := a.measure(ctx, h); err != nil {
			return h, err
		}
	}
	if a.spec.durable > 0 {
		if err := a.confirm(ctx, h); err != nil {
			return h, err
		}
	}
	if request.Session {
		h.session, h.node = a.conn, a.node
		<-c.waits
	}
	return h, nil
}

func (a *attempt) measure(ctx context.Context, h *Hold) error {
	c, request := a.client, &a.spec.request
	left := request.Lease
	sent := c.now()
	for i, command := range request.Checks() {
		reply, _, err := c.execute(ctx, a.slot, command)
		if err != nil {
			return err
		}
		check, held, err := core.ReadCheck(reply)
		if err != nil {
			return err
		}
		if !held || check.Fence != h.fences[i] {
			return h.lost(LostGone)
		}
		left = min(left, check.TTL)
	}
	if request.Max > 0 {
		// The grant was at least this long ago.
		h.span = core.NewSpan(sent-(request.Lease-left), request.Lease, request.Max)
	}
	h.checked(sent, left, 0)
	return nil
}

// confirm waits until enough replicas have the grant. It has to ask on the connection of the grant.
func (a *attempt) confirm(ctx context.Context, h *Hold) error {
	s := a.spec
	limited, cancel := context.WithTimeout(ctx, s.durableTimeout+a.client.options.requestTimeout)
	defer cancel()
	call := a.conn.Post(core.Command{"WAIT", s.durable, core.Milliseconds(s.durableTimeout)})
	_, err := call.Wait(limited)
	var reply any
	if err == nil {
		reply, err = call.Last()
	}
	var refusal *core.Refusal
	if errors.As(err, &refusal) || ctx.Err() != nil {
		return err
	}
	var confirmed int64
	if err == nil {
		confirmed, err = core.Count(reply)
	}
	if err != nil || confirmed < int64(s.durable) {
		return &NotDurableError{Keys: s.request.Keys, Confirmed: int(confirmed), Wanted: s.durable, Err: err}
	}
	return h.Err()
}

// gaveUp is the error for the caller.
func (a *attempt) gaveUp(ctx context.Context, err error) error {
	var refusal *core.Refusal
	keys := a.spec.request.Keys
	switch {
	case errors.Is(context.Cause(ctx), ErrClosed):
		return ErrClosed
	case errors.Is(err, errTaken):
		return &NotAcquiredError{Keys: keys, Waited: time.Since(a.began)}
	case ctx.Err() == nil:
		if errors.As(err, &refusal) {
			return serverError(refusal)
		}
		var lost *wire.LostError
		if errors.As(err, &lost) {
			return &UnreachableError{Err: err}
		}
		return err
	case !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return context.Cause(ctx)
	}
	// The time is over. Did the server say why, or did it only keep the caller waiting?
	fresh := a.onWay && time.Since(a.posted) > time.Second/2
	switch {
	case a.refusal != nil && !fresh:
		e := serverError(a.refusal)
		e.cause = context.DeadlineExceeded
		return e
	case a.failure != nil && !fresh:
		return &UnreachableError{Err: a.failure, cause: context.DeadlineExceeded}
	case !a.wait:
		// Nobody said that others hold it.
		return &UnreachableError{Err: errors.New("the server did not answer in time"), cause: context.DeadlineExceeded}
	}
	return &NotAcquiredError{Keys: keys, Waited: time.Since(a.began), cause: context.DeadlineExceeded}
}
