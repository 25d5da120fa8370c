package main

import (
	"context"
	"errors"
	"time"

	"example.com/redis-lock/examples/go/redislock"
	"github.com/redis/go-redis/v9"
)

// releaseMax bounds how long the release is tried.
const releaseMax = 5 * time.Second

// Hold is what the work done under a lock is given.
type Hold struct {
	key, owner string
	fence      int64
}

// Fence is larger than that of every grant of this lock before.
func (h Hold) Fence() int64 {
	return h.fence
}

// Work is what is done under a lock. Its context ends at once, with the cause [redislock.ErrNotHeld], if the hold is lost.
type Work func(ctx context.Context, hold Hold) error

// Locked waits for the lock until ctx ends, works under it, and gives it back. The lease is renewed while the work goes on,
// so it may be much shorter than the work: it only says how long a dead process keeps the others out.
func Locked(ctx context.Context, locks *redislock.Client, key string, lease time.Duration, work Work) (err error) {
	owner := redislock.NewOwner()
	fence, err := locks.Wait(ctx, key, owner, lease)
	if err != nil {
		return err
	}
	defer func() {
		// Also when ctx has ended.
		releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseMax)
		defer cancel()
		err = errors.Join(err, locks.Release(releasing, key, owner))
	}()

	extend := func(ctx context.Context) (time.Time, error) {
		until := time.Now().Add(lease)
		return until, locks.Extend(ctx, key, owner, fence, lease)
	}
	// Once at the start: only the server knows when in the course of the wait the lease began.
	until, err := extend(ctx)
	if err != nil {
		return err
	}
	renewing, stop := context.WithCancel(ctx)
	defer stop()
	return work(redislock.Renew(renewing, until, lease, extend), Hold{key, owner, fence})
}

// Set writes a value that takes effect only while the hold goes on, or answers [redislock.ErrNotHeld]: the server runs the
// transaction only if nothing happened to the lock since WATCH. So even a process that was stopped for longer than its
// lease, between the check and the write, overwrites nothing. The lock and the value must be on one server (in a cluster:
// in one slot); elsewhere the resource has to compare fences.
func (h Hold) Set(ctx context.Context, data redis.UniversalClient, key string, value any) error {
	err := data.Watch(ctx, func(tx *redis.Tx) error {
		if err := tx.Do(ctx, "LOCK.CHECK", h.key, h.owner).Err(); err != nil {
			return err // redis.Nil if it is not held.
		}
		_, err := tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			return pipe.Set(ctx, key, value, 0).Err()
		})
		return err
	}, h.key)
	if errors.Is(err, redis.Nil) || errors.Is(err, redis.TxFailedErr) {
		return redislock.ErrNotHeld
	}
	return err
}
