package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	lock "example.com/redis-lock/clients/go"
)

// durableTimeout is how long the replicas may take to confirm a grant.
const durableTimeout = 3 * time.Second

func (d *driver) acquire(ctx context.Context, r *request) (map[string]any, error) {
	take, err := d.request(r)
	if err != nil {
		return nil, err
	}
	wait := true
	if r.TimeoutMS != nil {
		wait = *r.TimeoutMS > 0
		if wait {
			limited, cancel := context.WithTimeout(ctx, milliseconds(r.TimeoutMS))
			defer cancel()
			ctx = limited
		}
	}
	h, err := take(ctx, wait)
	if err != nil {
		return nil, err
	}
	d.keep(r.Hold, h)
	if r.Keys == nil {
		return map[string]any{"fence": h.Fence(), "owner": h.Owner()}, nil
	}
	var fences []int64
	for _, key := range r.Keys {
		fences = append(fences, h.Fences()[key])
	}
	return map[string]any{"fences": fences, "owner": h.Owner()}, nil
}

// keep names a hold, and tells of its loss as the client does: by its context.
func (d *driver) keep(name string, h *lock.Hold) {
	d.mu.Lock()
	d.holds[name] = h
	d.mu.Unlock()
	context.AfterFunc(h.Context(), func() {
		var lost *lock.LostError
		if errors.As(context.Cause(h.Context()), &lost) && lost.Reason != lock.LostClosed {
			d.events.write(map[string]any{"event": "lost", "hold": name, "reason": lost.Reason})
		}
	})
}

type take func(ctx context.Context, wait bool) (*lock.Hold, error)

// locker is a client or an owner.
type locker interface {
	Mutex(key string, options ...lock.Option) *lock.Mutex
	RWMutex(key string, options ...lock.Option) *lock.RWMutex
	Semaphore(key string, units int, options ...lock.Option) *lock.Semaphore
	Multi(keys []string, options ...lock.Option) *lock.Mutex
}

func (d *driver) request(r *request) (take, error) {
	c, err := d.connected(r.Locks)
	if err != nil {
		return nil, err
	}
	if r.Reentrant {
		return nil, fmt.Errorf("%w: re-entrant locks", errUnsupported)
	}
	options := lockOptions(r)
	if c.quorum != nil {
		if r.Scope != "" || r.Keys != nil || r.Mode != "" && r.Mode != "exclusive" {
			return nil, fmt.Errorf("%w: a quorum has exclusive locks of one key", errUnsupported)
		}
		return ofMutex(c.quorum.Mutex(r.Key, options...)), nil
	}
	var l locker = c.client
	if r.Scope != "" {
		if l, err = d.owner(r.Locks, r.Scope); err != nil {
			return nil, err
		}
	}
	if r.Keys != nil {
		return ofMutex(l.Multi(r.Keys, options...)), nil
	}
	switch r.Mode {
	case "", "exclusive":
		return ofMutex(l.Mutex(r.Key, options...)), nil
	case "shared":
		m := l.RWMutex(r.Key, options...)
		return func(ctx context.Context, wait bool) (*lock.Hold, error) {
			if wait {
				return m.RLock(ctx)
			}
			return m.TryRLock(ctx)
		}, nil
	case "counted":
		weight := 1
		if r.Weight != nil {
			weight = *r.Weight
		}
		s := l.Semaphore(r.Key, r.Limit, options...)
		return func(ctx context.Context, wait bool) (*lock.Hold, error) {
			if wait {
				return s.Acquire(ctx, weight)
			}
			return s.TryAcquire(ctx, weight)
		}, nil
	}
	return nil, fmt.Errorf("%w: mode %q", errUsage, r.Mode)
}

func ofMutex(m *lock.Mutex) take {
	return func(ctx context.Context, wait bool) (*lock.Hold, error) {
		if wait {
			return m.Lock(ctx)
		}
		return m.TryLock(ctx)
	}
}

func lockOptions(r *request) []lock.Option {
	var options []lock.Option
	if r.LeaseMS != nil {
		options = append(options, lock.Lease(milliseconds(r.LeaseMS)))
	}
	if r.MaxMS != nil {
		options = append(options, lock.Max(milliseconds(r.MaxMS)))
	}
	if r.DelayMS != nil {
		options = append(options, lock.Delay(milliseconds(r.DelayMS)))
	}
	if r.Session {
		options = append(options, lock.Session())
	}
	if r.Renew != nil && !*r.Renew {
		options = append(options, lock.NoRenewal())
	}
	if r.Durable > 0 {
		options = append(options, lock.Durable(r.Durable, durableTimeout))
	}
	return options
}

func (d *driver) elect(ctx context.Context, r *request) (map[string]any, error) {
	c, err := d.single(r.Locks)
	if err != nil {
		return nil, err
	}
	h, err := c.Leader(r.Key, lockOptions(r)...).Elect(ctx)
	if err != nil {
		return nil, err
	}
	d.keep("leader "+r.Leader, h)
	return map[string]any{"fence": h.Fence(), "owner": h.Owner()}, nil
}

func (d *driver) observe(r *request) (map[string]any, error) {
	c, err := d.single(r.Locks)
	if err != nil {
		return nil, err
	}
	told := c.Leader(r.Key).Observe(context.Background())
	first, ok := <-told
	if !ok {
		return nil, lock.ErrClosed
	}
	go func() {
		for now := range told {
			d.events.write(map[string]any{"event": "leader", "observer": r.Observer, "owner": ownerOrNull(now.Owner)})
		}
	}()
	return map[string]any{"owner": ownerOrNull(first.Owner)}, nil
}

func ownerOrNull(owner string) any {
	if owner == "" {
		return nil
	}
	return owner
}

func (d *driver) info(ctx context.Context, r *request) (map[string]any, error) {
	c, err := d.single(r.Locks)
	if err != nil {
		return nil, err
	}
	info, err := c.Info(ctx, r.Key)
	if err != nil {
		return nil, err
	}
	holders := []string{}
	if info == nil {
		return map[string]any{"holders": holders, "waiters": 0}, nil
	}
	for _, holder := range info.Holders {
		holders = append(holders, holder.Owner)
	}
	return map[string]any{"holders": holders, "waiters": info.Waiters}, nil
}
