package main

import (
	"context"
	"errors"
	"time"

	"example.com/redis-lock/examples/go/redislock"
)

// Hold is a lock that a majority agreed on.
type Hold struct {
	redlock     *Redlock
	key, owner  string
	lease       time.Duration
	fence       int64
	until       time.Time
	stopRenewal context.CancelFunc
}

// Fence is larger than that of every hold of this lock before. Send it along with what you write: the resource remembers
// the largest it saw and rejects smaller ones.
func (h *Hold) Fence() int64 {
	return h.fence
}

// Until is the end of the hold's validity when it was granted.
func (h *Hold) Until() time.Time {
	return h.until
}

// Extend starts the lease anew and answers until when the hold is valid then. It needs a majority that stands at the fence.
func (h *Hold) Extend(ctx context.Context) (time.Time, error) {
	until := validUntil(h.lease)
	return until, verdict(h.redlock.all(ctx, h.lease, func(ctx context.Context, i int) error {
		err := h.redlock.servers[i].Extend(ctx, h.key, h.owner, h.fence, h.lease)
		if errors.Is(err, redislock.ErrNotHeld) {
			// A server that was late when the others agreed on the fence is brought in now.
			err = h.redlock.servers[i].Raise(ctx, h.key, h.owner, h.fence, h.lease)
		}
		return err
	}))
}

// Renew extends until Unlock, or until ctx ends. Call it once, and work under the context it returns: if the hold is lost,
// that ends at once, with the cause [redislock.ErrNotHeld].
func (h *Hold) Renew(ctx context.Context) context.Context {
	ctx, h.stopRenewal = context.WithCancel(ctx)
	return redislock.Renew(ctx, h.until, h.lease, h.Extend)
}

// Unlock gives the lock back on all servers. [redislock.ErrNotHeld]: a majority did not hold it any more.
func (h *Hold) Unlock(ctx context.Context) error {
	h.stopRenewal()
	return verdict(h.redlock.all(ctx, h.lease, func(ctx context.Context, i int) error {
		return h.redlock.servers[i].Release(ctx, h.key, h.owner)
	}))
}
