package main

import (
	"context"
	"time"

	"example.com/redis-lock/examples/go/redislock"
)

// unlockMax bounds how long Unlock tries.
const unlockMax = 5 * time.Second

// Mutex is like sync.Mutex for the goroutines of many processes, with a context, a lease, and errors.
//
// The goroutines that share a Mutex stand in a line of their own, and one of them in the server's. So they see what the
// one before wrote to memory, as with sync.Mutex (a lock in Redis alone says nothing to Go's memory model), and a process
// has one connection waiting however many goroutines want the lock.
type Mutex struct {
	locks *redislock.Client
	key   string
	lease time.Duration

	entry chan struct{} // Holds an element while a goroutine is in. Who put it there may use the fields below.
	owner string
	fence int64
}

// NewMutex makes the mutex of that key. The lease must be longer than what is done under it: it is not renewed.
func NewMutex(locks *redislock.Client, key string, lease time.Duration) *Mutex {
	return &Mutex{locks: locks, key: key, lease: lease, entry: make(chan struct{}, 1)}
}

// Lock waits until the lock is granted or ctx ends. After an error nothing is locked, here or on the server.
func (m *Mutex) Lock(ctx context.Context) error {
	select {
	case m.entry <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	owner := redislock.NewOwner()
	fence, err := m.locks.Wait(ctx, m.key, owner, m.lease)
	if err != nil {
		<-m.entry
		return err
	}
	m.owner, m.fence = owner, fence
	return nil
}

// Fence is larger than that of every grant before. For the holder: send it along with what you write, so that the
// resource can reject a holder whose lease has ended.
func (m *Mutex) Fence() int64 {
	return m.fence
}

// Unlock gives the lock back. It takes no context, because it must be sent also when that of the work has ended.
// [redislock.ErrNotHeld]: the lease ended before, and others may have been in meanwhile. After any error it is unlocked
// here, and on the server at the end of the lease at the latest.
//
//	defer func() { err = errors.Join(err, mutex.Unlock()) }()
func (m *Mutex) Unlock() error {
	owner := m.owner
	if owner == "" {
		return redislock.ErrNotHeld
	}
	ctx, cancel := context.WithTimeout(context.Background(), unlockMax)
	defer cancel()
	err := m.locks.Release(ctx, m.key, owner)
	m.owner, m.fence = "", 0
	<-m.entry
	return err
}
