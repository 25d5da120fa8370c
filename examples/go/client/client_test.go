package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/examples/go/internal/redistest"
)

const long = time.Minute

func TestMain(m *testing.M) { redistest.Main(m, main) }

func start(t *testing.T) (*redistest.Server, *lock.Client) {
	t.Parallel()
	server := redistest.Start(t)
	return server, server.Locks()
}

func tryLock(t *testing.T, locks *lock.Client, options ...lock.Option) *lock.Hold {
	t.Helper()
	hold, err := locks.Mutex(key, options...).TryLock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return hold
}

// within waits for the lock for that long.
func within(t *testing.T, mutex *lock.Mutex, limit time.Duration) (*lock.Hold, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return mutex.Lock(ctx)
}

func TestErrors(t *testing.T) {
	server, locks := start(t)
	mutex := locks.Mutex(key, lock.Lease(long))
	hold := tryLock(t, locks, lock.Lease(long))
	if _, err := mutex.TryLock(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Errorf("TryLock of a busy lock: %v", err)
	}
	if _, err := within(t, mutex, 50*time.Millisecond); !errors.Is(err, lock.ErrNotAcquired) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Lock of a busy lock: %v", err)
	}
	redistest.Until(t, "nobody waits after the time-out", func() bool { return server.Waiters(key) == 0 })
	if err := hold.Extend(t.Context(), long); err != nil {
		t.Errorf("Extend: %v", err)
	}
	if err := hold.Unlock(t.Context()); err != nil {
		t.Errorf("Unlock: %v", err)
	}
	if err := hold.Unlock(t.Context()); !errors.Is(err, lock.ErrNotHeld) {
		t.Errorf("second Unlock: %v", err)
	}
	if err := hold.Extend(t.Context(), long); !errors.Is(err, lock.ErrNotHeld) {
		t.Errorf("Extend after Unlock: %v", err)
	}
}

func TestLateUnlockDoesNotFreeTheNextHolder(t *testing.T) {
	_, locks := start(t)
	late := tryLock(t, locks, lock.Lease(300*time.Millisecond), lock.NoRenewal())
	next, err := within(t, locks.Mutex(key, lock.Lease(long)), long)
	if err != nil {
		t.Fatal(err)
	}
	if err := late.Unlock(t.Context()); !errors.Is(err, lock.ErrNotHeld) {
		t.Errorf("the late one's Unlock: %v", err)
	}
	if err := next.Unlock(t.Context()); err != nil {
		t.Errorf("the next one's Unlock: %v", err)
	}
	redistest.Rising(t, []int64{late.Fence(), next.Fence()})
}

func TestGoroutinesGoInOneByOne(t *testing.T) {
	server, locks := start(t)
	history := redistest.History(filepath.Join(t.TempDir(), "history"))
	const goroutines, visits = 20, 5
	var visiting sync.WaitGroup
	for range goroutines {
		visiting.Go(func() {
			for range visits {
				hold, err := within(t, locks.Mutex(key, lock.Lease(long)), long)
				if err != nil {
					t.Error(err)
					return
				}
				err = errors.Join(history.Enter(hold.Fence()), history.Leave(hold.Fence()), hold.Unlock(t.Context()))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	visiting.Wait()
	history.Judge(t, goroutines*visits)
	if server.Info(key) != nil {
		t.Error("the lock is not free in the end")
	}
}

func TestCancelledLockLeavesNoWaiter(t *testing.T) {
	server, locks := start(t)
	tryLock(t, locks, lock.Lease(long))
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := locks.Mutex(key).Lock(ctx)
		result <- err
	}()
	redistest.Until(t, "it waits", func() bool { return server.Waiters(key) == 1 })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("Lock: %v", err)
	}
	redistest.Until(t, "nobody waits", func() bool { return server.Waiters(key) == 0 })
}

func TestLostReplyIsAskedForAgainUnderTheSameOwner(t *testing.T) {
	server, _ := start(t)
	relay := redistest.NewRelay(t, server)
	locks := redistest.Locks(t, relay.Addr)

	relay.LoseReplyTo("LOCK.ACQUIRE")
	hold := tryLock(t, locks, lock.Lease(long))
	if relay.Lost() != 1 || server.Count("grants_at_once") != 1 {
		t.Errorf("%d replies lost, %d grants", relay.Lost(), server.Count("grants_at_once"))
	}
	relay.LoseReplyTo("LOCK.EXTEND")
	if err := hold.Extend(t.Context(), long); err != nil || relay.Lost() != 2 {
		t.Errorf("Extend: %v, %d replies lost", err, relay.Lost())
	}
}

func TestRenewalHoldsBeyondTheLeaseAndSurvivesFailures(t *testing.T) {
	server, _ := start(t)
	relay := redistest.NewRelay(t, server)
	locks := redistest.Locks(t, relay.Addr)
	const lease = 2 * time.Second
	hold := tryLock(t, locks, lock.Lease(lease))
	relay.LoseReplyTo("LOCK.EXTEND")
	select {
	case <-hold.Context().Done():
		t.Fatal(context.Cause(hold.Context()))
	case <-time.After(2*lease + lease/2):
	}
	if relay.Lost() != 1 {
		t.Errorf("%d replies lost", relay.Lost())
	}
	if _, err := server.Locks().Mutex(key).TryLock(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Errorf("the rival: %v", err)
	}
	if err := hold.Unlock(t.Context()); err != nil {
		t.Errorf("Unlock: %v", err)
	}
	if cause := redistest.Cause(t, hold.Context()); !errors.Is(cause, context.Canceled) {
		t.Errorf("after Unlock the cause is %v", cause)
	}
}

func TestLossIsToldToTheHolder(t *testing.T) {
	for name, lose := range map[string]func(*redistest.Server){
		"removed by an operator": func(s *redistest.Server) { s.Client().Del(context.Background(), key) },
		"server killed":          func(s *redistest.Server) { s.Kill() },
		"server silent":          func(s *redistest.Server) { s.Pause() },
	} {
		t.Run(name, func(t *testing.T) {
			server, locks := start(t)
			hold := tryLock(t, locks, lock.Lease(time.Second))
			lose(server)
			if cause := redistest.Cause(t, hold.Context()); !errors.Is(cause, lock.ErrNotHeld) {
				t.Errorf("the cause is %v", cause)
			}
		})
	}
}

func TestProgram(t *testing.T) {
	server, _ := start(t)
	output, err := redistest.Program(t, []string{"REDIS_ADDR=" + server.Addr}).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"TryLock meanwhile: example:client: others hold the lock",
		"Lock for 100 ms meanwhile: example:client: others held the lock for 10",
		"still locked after three times the lease",
		"an operator removed the lock: example:client: the lock is not held any more (gone)",
	} {
		if !strings.Contains(string(output), want) {
			t.Errorf("the output lacks %q:\n%s", want, output)
		}
	}
}
