package main

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrBusy says that others hold the lock.
	ErrBusy = errors.New("the lock is busy")
	// ErrNotHeld says that the lock was not held any more; others may have held it meanwhile.
	ErrNotHeld = errors.New("the lock is not held")
)

// Lock is a hold of a lock.
type Lock struct {
	client     *redis.Client
	key, owner string
	fence      int64
}

// TryLock takes the lock at once, for as long as the lease at most, or answers [ErrBusy].
func TryLock(ctx context.Context, client *redis.Client, key string, lease time.Duration) (*Lock, error) {
	// A new owner each time, so nobody can release a hold but who got it. It also makes it harmless that go-redis sends
	// the command again when the reply was lost: the same owner gets the same answer.
	owner := rand.Text()
	fence, err := client.Do(ctx, "LOCK.ACQUIRE", key, owner, "PX", lease.Milliseconds()).Int64()
	if errors.Is(err, redis.Nil) {
		return nil, ErrBusy
	}
	if err != nil {
		// It may have been granted all the same, to an owner that nobody will use again.
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		client.Do(release, "LOCK.RELEASE", key, owner)
		return nil, err
	}
	return &Lock{client, key, owner, fence}, nil
}

// Fence is larger than that of every grant of this lock before. Send it along with what you write: the resource remembers
// the largest it saw and rejects smaller ones.
func (l *Lock) Fence() int64 {
	return l.fence
}

// Unlock gives the lock back, or answers [ErrNotHeld] and leaves it to whoever holds it now.
func (l *Lock) Unlock(ctx context.Context) error {
	held, err := l.client.Do(ctx, "LOCK.RELEASE", l.key, l.owner).Bool()
	if err == nil && !held {
		return ErrNotHeld
	}
	return err
}
