package lock

import (
	"context"
	"errors"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
	"example.com/redis-lock/clients/go/internal/nodes"
	"example.com/redis-lock/clients/go/internal/wire"
)

const (
	// settleTime is for how long a command that was sent over a connection that was lost may still arrive.
	settleTime = 10 * time.Second
	// settleLease bounds the efforts for holds with long leases at a server that does not come back.
	settleLease = time.Hour
)

// abandon gives back whatever may have been granted, without keeping the caller waiting. The owner may ask
// for the lock again when nothing of it can arrive any more, or the lease would be over.
func (a *attempt) abandon() {
	c := a.client
	a.claim.settling()
	if !a.onWay && !a.stray {
		a.giveBack()
		a.claim.free()
		return
	}
	c.settle.begin()
	// Behind the ACQUIRE, on its connection, so that it cannot overtake it.
	var release *wire.Call
	switch {
	case core.Fault("release-first") && a.onWay:
		c.releaseFirst(a.node, a.spec.request.Release())
	case a.onWay:
		release = a.conn.Post(a.spec.request.Release())
	}
	go func() {
		defer c.settle.end()
		defer a.claim.free()
		a.withdraw(release)
	}()
}

// releaseFirst is what the planted fault does.
func (c *Client) releaseFirst(node *nodes.Node, release core.Command) {
	ctx, cancel := context.WithTimeout(context.Background(), c.options.requestTimeout)
	defer cancel()
	if conn, err := node.Borrow(ctx); err == nil {
		_, _ = conn.Post(release).Wait(ctx)
		node.GiveBack(conn)
	}
}

// withdraw sees to it that the RELEASE arrives.
func (a *attempt) withdraw(release *wire.Call) {
	c := a.client
	end := time.Duration(min(a.spec.request.Lease, settleLease)) + a.client.options.requestTimeout
	ctx, cancel := context.WithTimeout(context.Background(), end)
	defer cancel()
	if release != nil {
		var err error
		if a.own {
			err = a.listenFor(ctx, release)
		} else {
			err = c.await(ctx, a.node, a.conn, a.slot, release)
		}
		if err == nil {
			_, err = release.Replies()
		}
		if err != nil {
			a.stray = true
		}
	}
	a.giveBack()
	if a.stray {
		c.repeat(ctx, a.slot, a.spec.request.Release())
	}
}

// listenFor waits for the answer of the RELEASE behind a wait. The server reads it when the wait has ended, so the wait is
// cancelled over the shared connection, again and again: the first time may have been before the server saw the wait.
func (a *attempt) listenFor(ctx context.Context, release *wire.Call) error {
	c := a.client
	cancelling, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		backoff := core.NewBackoff(20*time.Millisecond, time.Second)
		for cancelling.Err() == nil {
			limited, cancel := context.WithTimeout(cancelling, 3*c.options.requestTimeout)
			_, _, _ = c.execute(limited, a.slot, a.spec.request.Release())
			cancel()
			c.pauseUnlessClosing(cancelling, backoff.Pause())
		}
	}()
	a.call = release
	return a.listen(ctx)
}

// repeat sends a RELEASE again and again, until nothing that was sent before can arrive after it.
func (c *Client) repeat(ctx context.Context, slot int, release core.Command) {
	backoff := core.NewBackoff(100*time.Millisecond, 3*time.Second)
	var since time.Time
	for ctx.Err() == nil {
		patience := 3 * c.options.requestTimeout
		last := c.closing.Err() != nil
		if last {
			patience = c.options.requestTimeout // The application ends. It does not wait for what may never come.
		}
		limited, cancel := context.WithTimeout(ctx, patience)
		_, _, err := c.execute(limited, slot, release)
		cancel()
		switch {
		case errors.Is(err, ErrClosed), last:
			return
		case err != nil:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) >= settleTime:
			return
		}
		c.pauseUnlessClosing(ctx, backoff.Pause())
	}
}

func (c *Client) pauseUnlessClosing(ctx context.Context, d time.Duration) {
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	select {
	case <-limited.Done():
	case <-c.closing.Done():
	}
}

// release ends a hold.
func (c *Client) release(ctx context.Context, h *Hold, cool time.Duration) error {
	h.mu.Lock()
	reason := h.reason
	h.mu.Unlock()
	if reason != "" {
		return h.lost(reason)
	}
	c.keeper.remove(h)
	if !h.finish(LostReleased) {
		return h.Err()
	}
	h.mu.Lock()
	reason = h.reason
	h.mu.Unlock()
	if reason == LostReleased {
		held := c.now() - h.grantedAt
		c.options.tell(func(hooks Hooks) {
			if hooks.Released != nil {
				hooks.Released(h.request.Name(), h.Owner(), held)
			}
		})
	} else {
		// It may still be there, if only this process's clock said that it is over.
		c.tellLost(h, reason)
	}
	err := c.sendRelease(ctx, h, h.request.ReleaseHold(h.Fence(), cool))
	if reason != LostReleased {
		return h.lost(reason)
	}
	return err
}

// sendRelease waits for the answer until ctx ends, and for a few seconds at most. Then it goes on in the background.
func (c *Client) sendRelease(ctx context.Context, h *Hold, command core.Command) error {
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx) // It is in a defer, perhaps.
	}
	limited, cancel := context.WithTimeout(ctx, 2*c.options.requestTimeout)
	defer cancel()
	reply, sent, err := c.execute(limited, h.slot, command)
	var refused *ServerError
	switch {
	case err == nil:
		if h.session != nil {
			h.node.GiveBack(h.session)
		}
		if h.stray {
			c.repeatLater(h, h.request.Release())
		} else {
			h.claim.free()
		}
		// A second one finds nothing, if the reply to the first was lost.
		if count, err := core.Count(reply); err != nil {
			return err
		} else if count < int64(len(h.request.Keys)) && sent == 1 {
			return h.lost(LostGone)
		}
		return nil
	case errors.As(err, &refused) && (&core.Refusal{Text: refused.Text}).Class() != core.Passing:
		if h.session != nil {
			h.session.Close(errors.New("its hold could not be released"))
		}
		h.claim.free()
		return err
	}
	if h.session != nil {
		h.session.Close(errors.New("its hold could not be released"))
	}
	// A release with COOL is repeated as it is: a plain one would let others in too early.
	c.repeatLater(h, command)
	return err
}

func (c *Client) repeatLater(h *Hold, command core.Command) {
	c.settle.begin()
	go func() {
		defer c.settle.end()
		defer h.claim.free()
		ctx, cancel := context.WithTimeout(context.Background(), min(h.lease(), settleLease)+settleTime)
		defer cancel()
		c.repeat(ctx, h.slot, command)
	}()
}

func (c *Client) tellLost(h *Hold, reason string) {
	c.options.logger.Warn("a lock was lost", "lock", h.request.Name(), "owner", h.Owner(), "fence", h.Fence(), "reason", reason)
	c.options.tell(func(hooks Hooks) {
		if hooks.Lost != nil {
			hooks.Lost(h.request.Name(), h.Owner(), reason)
		}
	})
}

// lose ends a hold that was lost.
func (c *Client) lose(h *Hold, reason string) {
	c.keeper.remove(h)
	if !h.finish(reason) {
		return
	}
	c.tellLost(h, reason)
	if h.session != nil {
		h.session.Close(errors.New("its hold was lost"))
	}
	switch {
	case h.stray:
		c.repeatLater(h, h.request.Release())
	case reason == LostExpired && h.renews:
		// An extension that is on its way may still arrive in time. Nobody works under the hold any more.
		c.releaseLater(h)
	default:
		h.claim.free()
	}
}

func (c *Client) releaseLater(h *Hold) {
	c.settle.begin()
	go func() {
		defer c.settle.end()
		defer h.claim.free()
		ctx, cancel := context.WithTimeout(context.Background(), min(h.lease(), settleLease))
		defer cancel()
		ctx, stop := c.withClosing(ctx)
		defer stop()
		_, _, _ = c.execute(ctx, h.slot, h.request.ReleaseHold(h.Fence(), 0))
	}()
}

func (c *Client) extend(ctx context.Context, h *Hold, lease time.Duration) error {
	sent := c.now()
	reply, _, err := c.execute(ctx, h.slot, h.request.Extend(h.Fence(), lease))
	if err != nil {
		return err
	}
	count, err := core.Count(reply)
	if err != nil {
		return err
	}
	if count < int64(len(h.request.Keys)) {
		c.lose(h, LostGone)
		return h.Err()
	}
	h.extended(sent, lease)
	c.keeper.moved(h)
	return nil
}

func (c *Client) check(ctx context.Context, h *Hold) (Check, error) {
	h.mu.Lock()
	version := h.version
	h.mu.Unlock()
	sent := c.now()
	result := Check{ExpiresIn: core.LeaseMax}
	for i, command := range h.request.Checks() {
		reply, _, err := c.execute(ctx, h.slot, append(command, "WAITERS"))
		if err != nil {
			return Check{}, err
		}
		check, held, err := core.ReadCheck(reply)
		if err != nil {
			return Check{}, err
		}
		if !held || check.Fence != h.fences[i] {
			c.lose(h, LostGone)
			return Check{}, h.lost(LostGone)
		}
		result.ExpiresIn = min(result.ExpiresIn, check.TTL)
		result.Waiters = max(result.Waiters, check.Waiters)
	}
	h.checked(sent, result.ExpiresIn, version)
	return result, nil
}

func (c *Client) downgrade(ctx context.Context, h *Hold) error {
	reply, _, err := c.execute(ctx, h.slot, h.request.Downgrade(h.Fence()))
	if err != nil {
		return err
	}
	if count, err := core.Count(reply); err != nil {
		return err
	} else if count == 0 {
		c.lose(h, LostGone)
		return h.Err()
	}
	return nil
}
