package lock

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"example.com/redis-lock/clients/go/internal/core"
)

// taker takes locks for objects such as Mutex: a client, an owner, or a quorum.
type taker interface {
	take(ctx context.Context, s spec, wait bool) (*Hold, error)
}

func (c *Client) take(ctx context.Context, s spec, wait bool) (*Hold, error) {
	return c.acquire(ctx, &s, nil, wait)
}

func (o *Owner) take(ctx context.Context, s spec, wait bool) (*Hold, error) {
	return o.client.acquire(ctx, &s, o, wait)
}

// Mutex is an exclusive lock, of one key or of several that are taken together. It has no state: any number of goroutines
// may use one, and each Lock is an acquisition of its own, also within one process.
type Mutex struct {
	taker taker
	spec  spec
}

// Mutex is the exclusive lock of a key.
func (c *Client) Mutex(key string, options ...Option) *Mutex {
	return &Mutex{c, newSpec(c, []string{key}, options)}
}

// Mutex is the exclusive lock of a key, taken for this owner.
func (o *Owner) Mutex(key string, options ...Option) *Mutex {
	return &Mutex{o, newSpec(o.client, []string{key}, options)}
}

// Multi is the exclusive lock of 1 to 64 keys, of which all are taken in one step, or none. In a cluster all keys must be in
// one slot.
func (c *Client) Multi(keys []string, options ...Option) *Mutex {
	return &Mutex{c, several(newSpec(c, slices.Clone(keys), options))}
}

// Multi is the exclusive lock of several keys, taken for this owner.
func (o *Owner) Multi(keys []string, options ...Option) *Mutex {
	return &Mutex{o, several(newSpec(o.client, slices.Clone(keys), options))}
}

func several(s spec) spec {
	s.request.Several = true
	return s
}

// Lock waits until the lock is granted or ctx ends; without limit if ctx has no deadline. ctx bounds the waiting only, not
// the hold. After an error nothing is held, and nothing waits.
func (m *Mutex) Lock(ctx context.Context) (*Hold, error) {
	return m.taker.take(ctx, m.spec, true)
}

// TryLock takes the lock at once, or returns [ErrNotAcquired]. ctx and the client's request time-out bound how long the
// answer may take.
func (m *Mutex) TryLock(ctx context.Context) (*Hold, error) {
	return m.taker.take(ctx, m.spec, false)
}

// Do waits for the lock as Lock does, calls work, and gives the lock back. The context of work ends with ctx, and when the
// lock is lost. The error is that of work; [ErrNotHeld] if work returned nil although the lock was lost meanwhile.
func (m *Mutex) Do(ctx context.Context, work func(ctx context.Context, h *Hold) error) error {
	h, err := m.Lock(ctx)
	if err != nil {
		return err
	}
	return under(ctx, h, work)
}

// under works under a hold and ends it, also if work panics.
func under(ctx context.Context, h *Hold, work func(ctx context.Context, h *Hold) error) (err error) {
	working, cancel := h.With(ctx)
	defer cancel()
	defer func() {
		if unlock := h.Unlock(ctx); err == nil {
			err = unlock
		}
	}()
	return work(working, h)
}

// Locker is the mutex as a sync.Locker, for code that takes one. Lock waits without limit, or until ctx ends. It panics with
// an error that wraps the reason if the lock cannot be had, because a sync.Locker has no other way to say so. Use
// [Mutex.Lock] where you can.
//
// Goroutines that share a Locker exclude one another as with a sync.Mutex. failed is called by Unlock if the lock had been
// lost; it may be nil.
func (m *Mutex) Locker(ctx context.Context, failed func(error)) sync.Locker {
	return &locker{ctx: ctx, mutex: m, failed: failed}
}

type locker struct {
	ctx    context.Context //nolint:containedctx // sync.Locker has no place for it.
	mutex  *Mutex
	failed func(error)

	local sync.Mutex
	hold  *Hold
}

func (l *locker) Lock() {
	l.local.Lock()
	h, err := l.mutex.Lock(l.ctx)
	if err != nil {
		l.local.Unlock()
		panic(fmt.Errorf("lock: %w", err))
	}
	l.hold = h
}

func (l *locker) Unlock() {
	h := l.hold
	l.hold = nil
	if h == nil {
		panic("lock: Unlock of a Locker that is not locked")
	}
	err := h.Unlock(l.ctx)
	l.local.Unlock()
	if err != nil && l.failed != nil {
		l.failed(err)
	}
}

// RWMutex is a lock for many readers or one writer. There is one queue for both, so readers cannot keep a writer waiting
// for ever.
type RWMutex struct {
	writer, reader Mutex
}

// RWMutex is the lock of a key for readers and writers.
func (c *Client) RWMutex(key string, options ...Option) *RWMutex {
	return newRWMutex(c, newSpec(c, []string{key}, options))
}

// RWMutex is the lock of a key for readers and writers, taken for this owner.
func (o *Owner) RWMutex(key string, options ...Option) *RWMutex {
	return newRWMutex(o, newSpec(o.client, []string{key}, options))
}

func newRWMutex(t taker, s spec) *RWMutex {
	shared := s
	shared.request.Mode = core.Shared
	shared.request.Delay = 0 // For writers only.
	return &RWMutex{Mutex{t, s}, Mutex{t, shared}}
}

// Lock waits for the lock as a writer, as [Mutex.Lock] does.
func (m *RWMutex) Lock(ctx context.Context) (*Hold, error) { return m.writer.Lock(ctx) }

// TryLock takes the lock as a writer at once, or returns [ErrNotAcquired].
func (m *RWMutex) TryLock(ctx context.Context) (*Hold, error) { return m.writer.TryLock(ctx) }

// RLock waits for the lock as a reader, as [Mutex.Lock] does.
func (m *RWMutex) RLock(ctx context.Context) (*Hold, error) { return m.reader.Lock(ctx) }

// TryRLock takes the lock as a reader at once, or returns [ErrNotAcquired].
func (m *RWMutex) TryRLock(ctx context.Context) (*Hold, error) { return m.reader.TryLock(ctx) }

// Semaphore is a lock that several hold at a time. Each has its own fence and lease. Fences do not protect the holders of
// one semaphore from one another.
type Semaphore struct {
	taker taker
	spec  spec
}

// Semaphore is the lock of a key with that many units: 1 to 1000000. All clients should give the same number.
func (c *Client) Semaphore(key string, units int, options ...Option) *Semaphore {
	return newSemaphore(c, newSpec(c, []string{key}, options), units)
}

// Semaphore is the lock of a key with that many units, taken for this owner.
func (o *Owner) Semaphore(key string, units int, options ...Option) *Semaphore {
	return newSemaphore(o, newSpec(o.client, []string{key}, options), units)
}

func newSemaphore(t taker, s spec, units int) *Semaphore {
	s.request.Mode, s.request.Limit = core.Counted, units
	return &Semaphore{t, s}
}

// Acquire waits for so many units, as [Mutex.Lock] does.
func (s *Semaphore) Acquire(ctx context.Context, units int) (*Hold, error) {
	return s.taker.take(ctx, s.weighing(units), true)
}

// TryAcquire takes so many units at once, or returns [ErrNotAcquired].
func (s *Semaphore) TryAcquire(ctx context.Context, units int) (*Hold, error) {
	return s.taker.take(ctx, s.weighing(units), false)
}

func (s *Semaphore) weighing(units int) spec {
	weighing := s.spec
	weighing.request.Weight = units
	return weighing
}
