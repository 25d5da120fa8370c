package lock

import (
	"context"
	"slices"
	"sync"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
	"example.com/redis-lock/clients/go/internal/nodes"
	"example.com/redis-lock/clients/go/internal/wire"
)

// Hold is a lock that was granted, or several that were granted together. Any number of goroutines may use it.
type Hold struct {
	request   core.Request
	keeper    holdKeeper
	fences    []int64
	slot      int
	renews    bool
	grantedAt time.Duration
	now       func() time.Duration
	working   *workContext
	cancel    context.CancelCauseFunc
	// claim keeps the owner from asking for the lock twice. May be nil.
	claim *claim

	mu     sync.Mutex
	span   core.Span
	reason string // Why it has ended; "" while it is held.
	denied bool
	stray  bool // Whether an ACQUIRE of this owner may still arrive over a connection that was lost.
	// version counts extensions, so that an older CHECK does not shorten what a newer extension gave.
	version int
	session *wire.Conn
	node    *nodes.Node

	// Of the keeper's loop, guarded by its mutex.
	queued   bool
	index    int
	next     time.Duration
	renewAt  time.Duration
	checkAt  time.Duration
	busy     bool
	failures int
	watched  *wire.Conn
}

// holdKeeper is what a hold needs of its client, which is a *Client or a *Quorum.
type holdKeeper interface {
	release(ctx context.Context, h *Hold, cool time.Duration) error
	extend(ctx context.Context, h *Hold, lease time.Duration) error
	check(ctx context.Context, h *Hold) (Check, error)
	downgrade(ctx context.Context, h *Hold) error
	lose(h *Hold, reason string)
}

// newHold makes the hold of a grant. Its context has the values of ctx, but not its end.
func newHold(ctx context.Context, k holdKeeper, now func() time.Duration, s *spec, fences []int64, span core.Span) *Hold {
	h := &Hold{
		request: s.request, keeper: k, fences: fences, renews: !s.noRenewal, grantedAt: now(), now: now, span: span,
	}
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	h.working, h.cancel = &workContext{inner, h}, cancel
	return h
}

// workContext is the context of the work under a hold. Its error looks at the clock too.
type workContext struct {
	context.Context
	hold *Hold
}

// Err is nil while the lock is surely held.
func (w *workContext) Err() error {
	if err := w.Context.Err(); err != nil {
		return err
	}
	if !w.hold.Held() {
		w.hold.loseByClock()
	}
	return w.Context.Err()
}

// Key is the key of the lock; the first one if there are several.
func (h *Hold) Key() string { return h.request.Keys[0] }

// Keys are the keys of the locks.
func (h *Hold) Keys() []string { return slices.Clone(h.request.Keys) }

// Owner is the owner as LOCK.INFO shows it.
func (h *Hold) Owner() string { return h.request.Owner }

// Fence is the fencing token: larger than that of every earlier grant of the lock. Send it along with each write. The
// resource remembers the largest it has seen and rejects smaller ones. If there are several keys, it is that of the first.
func (h *Hold) Fence() int64 { return h.fences[0] }

// Fences are the fencing tokens by key.
func (h *Hold) Fences() map[string]int64 {
	fences := make(map[string]int64, len(h.fences))
	for i, key := range h.request.Keys {
		fences[key] = h.fences[i]
	}
	return fences
}

// Context is the context to work under. It has the values of the context that Lock was given, but not its end. It is
// cancelled when the hold is lost, with a [LostError] as its cause, and when it is released.
func (h *Hold) Context() context.Context { return h.working }

// With is a context that ends with ctx, with the hold, or when the function is called, which must be done in the end.
func (h *Hold) With(ctx context.Context) (context.Context, context.CancelFunc) {
	both, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(h.working, func() { cancel(context.Cause(h.working)) })
	return both, func() {
		stop()
		cancel(context.Canceled)
	}
}

// Held says whether the lock is surely held, as far as this process can know without asking. It looks at a clock that goes
// on while the machine sleeps, and is false in doubt.
func (h *Hold) Held() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reason == "" && h.now() < h.span.Until
}

// Err is nil while the lock is surely held, else a [LostError].
func (h *Hold) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.reason != "":
		return h.lost(h.reason)
	case h.now() >= h.span.Until:
		return h.lost(h.lateReason())
	}
	return nil
}

// ExpiresIn is how long the lock is surely held without another renewal; 0 if it is not.
func (h *Hold) ExpiresIn() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reason != "" {
		return 0
	}
	return max(0, h.span.Until-h.now())
}

// Unlock gives the lock back. The error is [ErrNotHeld] if the hold had ended before: others may have held the lock while
// you still worked. It waits for the server's answer until ctx ends, and for a few seconds at most. In both cases the
// release goes on in the background. It works with a context that has ended already, so it can stand in a defer.
func (h *Hold) Unlock(ctx context.Context) error {
	return h.keeper.release(ctx, h, 0)
}

// UnlockAndCool gives the lock back, and nobody gets it for this time: 1 ms to 365 days. It is for exclusive locks of one
// key.
func (h *Hold) UnlockAndCool(ctx context.Context, cool time.Duration) error {
	if cool <= 0 || cool > core.LeaseMax || h.request.Mode != core.Exclusive || h.request.Several {
		return usage("cooling is for 1 ms to 365 days, after an exclusive lock of one key")
	}
	return h.keeper.release(ctx, h, cool)
}

// Extend gives the hold a new lease that starts now. Renewals then use this lease too. The error is [ErrNotHeld] if the
// hold has ended.
func (h *Hold) Extend(ctx context.Context, lease time.Duration) error {
	if lease <= 0 || lease > core.LeaseMax {
		return usage("the lease must be above 0 and at most 365 days, not %v", lease)
	}
	if err := h.Err(); err != nil {
		return err
	}
	return h.keeper.extend(ctx, h, lease)
}

// Check is what the server says of a hold.
type Check struct {
	// ExpiresIn is what is left of the lease.
	ExpiresIn time.Duration
	// Waiters is how many clients wait for the lock. A polite holder that could stop looks at it.
	Waiters int
}

// Check asks the server. The error is [ErrNotHeld] if the hold has ended. If there are several keys, it tells the least
// time and the most waiters.
func (h *Hold) Check(ctx context.Context) (Check, error) {
	h.mu.Lock()
	reason := h.reason
	h.mu.Unlock()
	if reason != "" {
		return Check{}, h.lost(reason)
	}
	return h.keeper.check(ctx, h)
}

// Downgrade makes an exclusive hold a shared one, with the same fence and lease. Others do not get the lock in between.
func (h *Hold) Downgrade(ctx context.Context) error {
	if h.request.Mode != core.Exclusive || h.request.Several {
		return usage("an exclusive hold of one key can be downgraded")
	}
	if err := h.Err(); err != nil {
		return err
	}
	return h.keeper.downgrade(ctx, h)
}

func (h *Hold) lost(reason string) *LostError {
	return &LostError{h.request.Keys, h.request.Owner, h.Fence(), reason}
}

func (h *Hold) lateReason() string {
	switch {
	case h.span.Bounded():
		return LostMax
	case h.denied:
		return LostDenied
	}
	return LostExpired
}

// finish ends it in this process; false if it has ended before.
func (h *Hold) finish(reason string) bool {
	h.mu.Lock()
	if h.reason != "" {
		h.mu.Unlock()
		return false
	}
	late := h.now() >= h.span.Until
	if late && reason == LostReleased {
		reason = h.lateReason()
	}
	h.reason = reason
	h.mu.Unlock()
	h.claim.settling()
	if reason == LostReleased {
		h.cancel(errReleased)
	} else {
		h.cancel(h.lost(reason))
	}
	return true
}

// errReleased is the cause of the end of a context whose hold was released: it is context.Canceled to errors.Is.
var errReleased error = releasedError{}

type releasedError struct{}

func (releasedError) Error() string        { return "the lock was released" }
func (releasedError) Is(target error) bool { return target == context.Canceled }

// loseByClock ends it if its time is over.
func (h *Hold) loseByClock() {
	h.mu.Lock()
	late, reason := h.reason == "" && h.now() >= h.span.Until, h.lateReason()
	h.mu.Unlock()
	if late {
		h.keeper.lose(h, reason)
	}
}

// extended notes an extension that was sent at that time.
func (h *Hold) extended(sent, lease time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.span.Extend(sent, lease)
	h.version++
	h.denied = false
}

// checked notes what a CHECK said that was sent at that time, when there had been so many extensions.
func (h *Hold) checked(sent, left time.Duration, version int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.version == version {
		h.span.Check(sent, h.now(), left)
	}
}

func (h *Hold) lease() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.span.Lease
}
