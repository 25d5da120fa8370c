package main

import (
	"context"
	"errors"
	"time"

	"example.com/redis-lock/examples/go/redislock"
)

var (
	// ErrFailedToPreemptLock says that others hold the lock.
	ErrFailedToPreemptLock = redislock.ErrBusy
	// ErrLockNotHold says that the lock is not held any more: unlocked, its expiration passed, or removed by an operator.
	ErrLockNotHold = redislock.ErrNotHeld
	// ErrLockTimeout says that the lock was not granted within the time-out.
	ErrLockTimeout = errors.New("the lock was not granted in time")
)

// Client makes locks. Any number of goroutines may use it; each lock has an owner of its own, so goroutines of one
// process are kept apart like those of many, and stand in the same line.
type Client struct {
	locks *redislock.Client
}

// NewClient makes a client on the commands.
func NewClient(locks *redislock.Client) *Client {
	return &Client{locks}
}

// TryLock takes the lock at once, or answers [ErrFailedToPreemptLock].
func (c *Client) TryLock(ctx context.Context, key string, expiration time.Duration) (*Lock, error) {
	lock := c.newLock(key, expiration)
	var err error
	lock.fence, err = c.locks.Acquire(ctx, key, lock.owner, expiration)
	if err == nil {
		return lock, nil
	}
	if !errors.Is(err, ErrFailedToPreemptLock) {
		// The reply was lost, and with it maybe a grant.
		go func() {
			releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), expiration)
			defer cancel()
			_ = lock.Unlock(releasing)
		}()
	}
	return nil, err
}

// Lock takes the lock when its turn comes: the server keeps the line, and nobody polls. [ErrLockTimeout] after the time-out;
// the error of ctx if that ends before. Either way nothing is left waiting on the server.
func (c *Client) Lock(ctx context.Context, key string, expiration, timeout time.Duration) (*Lock, error) {
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	lock := c.newLock(key, expiration)
	var err error
	lock.fence, err = c.locks.Wait(waiting, key, lock.owner, expiration)
	switch {
	case err == nil:
		return lock, nil
	case ctx.Err() == nil && waiting.Err() != nil:
		return nil, ErrLockTimeout
	default:
		return nil, err
	}
}

func (c *Client) newLock(key string, expiration time.Duration) *Lock {
	return &Lock{locks: c.locks, key: key, owner: redislock.NewOwner(), expiration: expiration, stopRefresh: func() {}}
}

// Lock is a hold of a lock.
type Lock struct {
	locks       *redislock.Client
	key, owner  string
	fence       int64
	expiration  time.Duration
	stopRefresh context.CancelFunc
}

// Fence is larger than that of every grant of this lock before. Send it along with what you write: the resource remembers
// the largest it saw and rejects smaller ones.
func (l *Lock) Fence() int64 {
	return l.fence
}

// Refresh starts the expiration anew, or answers [ErrLockNotHold].
func (l *Lock) Refresh(ctx context.Context) error {
	return l.locks.Extend(ctx, l.key, l.owner, l.fence, l.expiration)
}

// AutoRefresh refreshes until Unlock, or until ctx ends. Call it once, and work under the context it returns: if the lock is
// lost, that ends at once, with the cause [ErrLockNotHold].
func (l *Lock) AutoRefresh(ctx context.Context) (context.Context, error) {
	refresh := func(ctx context.Context) (time.Time, error) {
		until := time.Now().Add(l.expiration)
		return until, l.Refresh(ctx)
	}
	until, err := refresh(ctx)
	if err != nil {
		return nil, err
	}
	ctx, l.stopRefresh = context.WithCancel(ctx)
	return redislock.Renew(ctx, until, l.expiration, refresh), nil
}

// Unlock gives the lock back, or answers [ErrLockNotHold] and leaves it to whoever holds it now. It needs a context that has
// not ended: in a defer that may run after a cancellation, context.WithoutCancel.
func (l *Lock) Unlock(ctx context.Context) error {
	l.stopRefresh()
	return l.locks.Release(ctx, l.key, l.owner)
}
