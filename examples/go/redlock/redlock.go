package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"example.com/redis-lock/examples/go/redislock"
	"github.com/redis/go-redis/v9"
)

// ErrNoQuorum says that most of the servers did not answer, or did not agree in time.
var ErrNoQuorum = errors.New("no quorum")

// pauseMax bounds the pause between two attempts. It is random, so that two who split the votes do not do so again.
const pauseMax = 50 * time.Millisecond

// Redlock is a lock that most of n independent servers agree on, n odd and at least 3. It works as long as most of them do.
//
// A server that may have lost data must stay out for the longest lease in use, or run with appendfsync always. The clocks
// of the servers should be in step: one that is more than 60 seconds ahead does not count.
type Redlock struct {
	servers []*redislock.Client
}

// New takes the address of each server.
func New(addrs ...string) (*Redlock, error) {
	if len(addrs) < 3 || len(addrs)%2 == 0 {
		return nil, fmt.Errorf("redlock needs 3, 5, 7, ... servers, not %d", len(addrs))
	}
	r := &Redlock{}
	for _, addr := range addrs {
		r.servers = append(r.servers, redislock.New(&redis.UniversalOptions{
			Addrs: []string{addr},
			// A server that is down must be known to be soon. The next attempt asks it again.
			MaxRetries:    -1,
			DialerRetries: 1,
		}))
	}
	return r, nil
}

// Close closes the connections.
func (r *Redlock) Close() error {
	var errs []error
	for _, server := range r.servers {
		errs = append(errs, server.Close())
	}
	return errors.Join(errs...)
}

// Lock tries until it gets the lock or ctx ends; then the error says that, and why the last attempt failed.
func (r *Redlock) Lock(ctx context.Context, key string, lease time.Duration) (*Hold, error) {
	for {
		hold, err := r.TryLock(ctx, key, lease)
		if err == nil {
			return hold, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(rand.N(pauseMax)):
		}
	}
}

// TryLock asks every server once. [redislock.ErrBusy]: others have the votes.
func (r *Redlock) TryLock(ctx context.Context, key string, lease time.Duration) (*Hold, error) {
	hold := &Hold{redlock: r, key: key, owner: redislock.NewOwner(), lease: lease, stopRenewal: func() {}}
	hold.until = validUntil(lease)
	fences := make([]int64, len(r.servers)) // 0: not granted.
	answers := r.all(ctx, lease, func(ctx context.Context, i int) (err error) {
		fences[i], err = r.servers[i].Acquire(ctx, key, hold.owner, lease)
		return err
	})
	err := verdict(answers)
	if err == nil {
		hold.fence, err = r.agree(ctx, hold, fences)
	}
	if err == nil && !time.Now().Before(hold.until) {
		err = ErrNoQuorum
	}
	if err != nil {
		// On all of them, also where the answer was lost, and before the next attempt.
		_ = hold.Unlock(context.WithoutCancel(ctx))
		return nil, err
	}
	return hold, nil
}

// agree brings a majority to one fence: the largest that a server gave. Every later majority shares a server with this one,
// and that server's next fence is larger. So fences rise from hold to hold, which is what the resource needs.
//
// Servers refuse to follow one whose clock is too far ahead of theirs. If that leaves no majority at its fence, the largest
// of the others will do as well.
func (r *Redlock) agree(ctx context.Context, hold *Hold, fences []int64) (int64, error) {
	for {
		fence := slices.Max(fences)
		if fence == 0 {
			return 0, ErrNoQuorum
		}
		answers := r.all(ctx, hold.lease, func(ctx context.Context, i int) error {
			switch fences[i] {
			case fence:
				return nil
			case 0:
				return ErrNoQuorum
			default:
				return r.servers[i].Raise(ctx, hold.key, hold.owner, fence, hold.lease)
			}
		})
		if verdict(answers) == nil {
			return fence, nil
		}
		for i, err := range answers {
			if err == nil {
				fences[i] = 0 // It stands too high for what is left.
			}
		}
	}
}
