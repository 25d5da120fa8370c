package lock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/clients/go/internal/redistest"
)

func TestLockIsHeldUntilItIsUnlocked(t *testing.T) {
	t.Parallel()
	server, c := start(t, lock.WithLabel("app"))
	m := c.Mutex(key)
	h := locked(t, m)
	if !h.Held() || h.Err() != nil || h.Context().Err() != nil {
		t.Errorf("held %v, %v, %v", h.Held(), h.Err(), h.Context().Err())
	}
	_, err := m.TryLock(t.Context())
	isErr(t, "TryLock", err, lock.ErrNotAcquired)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Error("TryLock blames a deadline")
	}
	unlock(t, h)
	if server.Info(key) != nil {
		t.Error("it is not free")
	}
	isErr(t, "the cause", context.Cause(h.Context()), context.Canceled)
	isErr(t, "second Unlock", h.Unlock(t.Context()), lock.ErrNotHeld)
	next := locked(t, m)
	if next.Fence() <= h.Fence() {
		t.Errorf("the fence falls from %d to %d", h.Fence(), next.Fence())
	}
}

func TestWaiterGetsTheLockWhenItIsUnlocked(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	m := c.Mutex(key)
	h := locked(t, m)
	waits := waiting(t, server, m, t.Context())
	unlock(t, h)
	unlock(t, (<-waits).must(t))
}

func TestDeadlineEndsTheWait(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	m := c.Mutex(key)
	locked(t, m)
	_, err := m.Lock(within(t, 100*time.Millisecond))
	isErr(t, "Lock", err, lock.ErrNotAcquired)
	isErr(t, "Lock", err, context.DeadlineExceeded)
	redistest.Until(t, "nobody waits", func() bool { return server.Waiters(key) == 0 })
}

func TestCancellationEndsTheWait(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	m := c.Mutex(key)
	locked(t, m)
	why := errors.New("not needed any more")
	ctx, cancel := context.WithCancelCause(t.Context())
	waits := waiting(t, server, m, ctx)
	cancel(why)
	isErr(t, "Lock", (<-waits).err, why)
	redistest.Until(t, "nobody waits", func() bool { return server.Waiters(key) == 0 })
}

func TestRenewalHoldsBeyondTheLease(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	const lease = 900 * time.Millisecond
	h := locked(t, c.Mutex(key, lock.Lease(lease)))
	select {
	case <-h.Context().Done():
		t.Fatal(context.Cause(h.Context()))
	case <-time.After(3 * lease):
	}
	if !h.Held() || server.Info(key) == nil {
		t.Error("it is not held any more")
	}
	unlock(t, h)
}

func TestHoldWithoutRenewalEndsWithItsLease(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	h := locked(t, c.Mutex(key, lock.Lease(200*time.Millisecond), lock.NoRenewal()))
	cause := redistest.Cause(t, h.Context())
	var lost *lock.LostError
	if !errors.As(cause, &lost) || lost.Reason != lock.LostExpired && lost.Reason != lock.LostGone {
		t.Errorf("the cause is %v", cause)
	}
	if h.Held() {
		t.Error("it believes to hold it")
	}
	isErr(t, "Unlock", h.Unlock(t.Context()), lock.ErrNotHeld)
	isErr(t, "Extend", h.Extend(t.Context(), long), lock.ErrNotHeld)
}

func TestLossIsToldAtOnce(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	h := locked(t, c.Mutex(key, lock.Lease(long)))
	redistest.Until(t, "it is watched", func() bool { return server.Number("stats", "tracking_total_keys") == 1 })
	server.Do("DEL", key)
	isErr(t, "the cause", redistest.Cause(t, h.Context()), lock.ErrNotHeld)
}

func TestLossIsToldWithoutTracking(t *testing.T) {
	t.Parallel()
	server, c := start(t, lock.WithoutTracking())
	h := locked(t, c.Mutex(key, lock.Lease(time.Second)))
	server.Do("DEL", key)
	isErr(t, "the cause", redistest.Cause(t, h.Context()), lock.ErrNotHeld)
}

func TestMaxEndsTheHold(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	h := locked(t, c.Mutex(key, lock.Lease(600*time.Millisecond), lock.Max(time.Second)))
	var lost *lock.LostError
	if cause := redistest.Cause(t, h.Context()); !errors.As(cause, &lost) || lost.Reason == lock.LostReleased {
		t.Errorf("the cause is %v", cause)
	}
}

func TestExtendCheckAndDowngrade(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	m := c.RWMutex(key, lock.Lease(10*time.Second))
	h, err := m.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Extend(t.Context(), long); err != nil {
		t.Fatal(err)
	}
	check, err := h.Check(t.Context())
	if err != nil || check.ExpiresIn < long/2 || h.ExpiresIn() < long/2 {
		t.Errorf("%v is left, %v here, %v", check.ExpiresIn, h.ExpiresIn(), err)
	}
	if _, err := m.TryRLock(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Errorf("a reader beside the writer: %v", err)
	}
	if err := h.Downgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	reader, err := m.TryRLock(t.Context())
	if err != nil {
		t.Fatalf("a reader beside the reader: %v", err)
	}
	unlock(t, reader)
	unlock(t, h)
	server.Do("SET", key, "value")
	_, err = m.Lock(t.Context())
	isErr(t, "Lock of a string", err, lock.ErrWrongType)
}

func TestSemaphoreWeighs(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	s := c.Semaphore(key, 4)
	three, err := s.Acquire(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.TryAcquire(t.Context(), 2)
	isErr(t, "two more", err, lock.ErrNotAcquired)
	one, err := s.TryAcquire(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	unlock(t, three)
	unlock(t, one)
	_, err = s.Acquire(t.Context(), 5)
	isErr(t, "more than there are", err, lock.ErrUsage)
	_, err = s.Acquire(t.Context(), 0)
	isErr(t, "nothing", err, lock.ErrUsage)
}

func TestSeveralKeysAreTakenTogether(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	m := c.Multi([]string{"a", "b"}, lock.Lease(900*time.Millisecond))
	h := locked(t, m)
	if fences := h.Fences(); len(fences) != 2 || fences["a"] == fences["b"] {
		t.Errorf("the fences are %v", fences)
	}
	_, err := c.Mutex("b").TryLock(t.Context())
	isErr(t, "b", err, lock.ErrNotAcquired)
	renewed := server.Count("extensions")
	redistest.Until(t, "both are renewed", func() bool { return server.Count("extensions") >= renewed+4 })
	unlock(t, h)
	if server.Info("a") != nil || server.Info("b") != nil {
		t.Error("they are not free")
	}
	_, err = c.Multi([]string{"a", "a"}).Lock(t.Context())
	isErr(t, "a key twice", err, lock.ErrUsage)
}

func TestOneOwnerLetsTheServerFindDeadlocks(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	one, two := c.NewOwner(), c.NewOwner()
	a := locked(t, one.Mutex("a"))
	b := locked(t, two.Mutex(key))
	waits := waiting(t, server, one.Mutex(key), t.Context())
	_, err := two.Mutex("a").Lock(t.Context())
	isErr(t, "Lock", err, lock.ErrDeadlock)
	var refused *lock.ServerError
	if !errors.As(err, &refused) || len(refused.Cycle) != 2 || !strings.HasPrefix(two.Name(), refused.Cycle[0].Owner) {
		t.Errorf("the cycle is missing: %v", err)
	}
	unlock(t, b)
	unlock(t, (<-waits).must(t))
	unlock(t, a)
	_, err = c.NewOwner().Mutex("a", lock.Lease(-1)).Lock(t.Context())
	isErr(t, "a lease below 0", err, lock.ErrUsage)
}

func TestOwnerTakesALockOnceAtATime(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	o := c.NewOwner()
	h := locked(t, o.Mutex(key))
	if h.Owner() != o.Name() {
		t.Errorf("the owner is %s, not %s", h.Owner(), o.Name())
	}
	_, err := o.Mutex(key).TryLock(t.Context())
	isErr(t, "the second", err, lock.ErrUsage)
	unlock(t, h)
	unlock(t, locked(t, o.Mutex(key)))
}

func TestSessionEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	h := locked(t, c.Mutex(key, lock.Session(), lock.Lease(long)))
	holders, _ := server.Info(key)["holders"].([]any)
	session := holders[0].(map[any]any)["session"]
	server.Do("CLIENT", "KILL", "ID", session)
	var lost *lock.LostError
	if cause := redistest.Cause(t, h.Context()); !errors.As(cause, &lost) || lost.Reason != lock.LostSession {
		t.Errorf("the cause is %v", cause)
	}
	redistest.Until(t, "it is free", func() bool { return server.Info(key) == nil })
	again := locked(t, c.Mutex(key, lock.Session(), lock.Lease(long)))
	unlock(t, again)
}

func TestCoolingKeepsOthersOut(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	m := c.Mutex(key)
	if err := locked(t, m).UnlockAndCool(t.Context(), long); err != nil {
		t.Fatal(err)
	}
	_, err := m.TryLock(t.Context())
	isErr(t, "TryLock", err, lock.ErrNotAcquired)
	if mode := server.Info(key)["mode"]; mode != "cooling" {
		t.Errorf("the lock is %v", mode)
	}
}

func TestGrantThatNoReplicaHasIsReleased(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	_, err := c.Mutex(key, lock.Durable(1, 50*time.Millisecond)).Lock(t.Context())
	isErr(t, "Lock", err, lock.ErrNotDurable)
	redistest.Until(t, "it is free", func() bool { return server.Info(key) == nil })
}

func TestDoUnlocksAndTellsTheLoss(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	m := c.Mutex(key, lock.Lease(time.Second))
	failed := errors.New("no disk")
	err := m.Do(t.Context(), func(context.Context, *lock.Hold) error { return failed })
	isErr(t, "Do", err, failed)
	if server.Info(key) != nil {
		t.Error("it is not free")
	}
	err = m.Do(t.Context(), func(ctx context.Context, _ *lock.Hold) error {
		server.Do("DEL", key)
		isErr(t, "the cause", redistest.Cause(t, ctx), lock.ErrNotHeld)
		return nil
	})
	isErr(t, "Do", err, lock.ErrNotHeld)
}

func TestLockerExcludesGoroutines(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	l := c.Mutex(key).Locker(t.Context(), func(err error) { t.Error(err) })
	count := 0
	done := make(chan struct{})
	for range 4 {
		go func() {
			for range 10 {
				l.Lock()
				count++
				l.Unlock()
			}
			done <- struct{}{}
		}()
	}
	for range 4 {
		<-done
	}
	if count != 40 || server.Count("releases") != 40 {
		t.Errorf("the count is %d, %d releases", count, server.Count("releases"))
	}
}

func TestOwnersLeadToTheProcess(t *testing.T) {
	t.Parallel()
	_, c := start(t, lock.WithLabel("billing"))
	one, two := locked(t, c.Mutex("a")), locked(t, c.Mutex("b"))
	if one.Owner() == two.Owner() {
		t.Errorf("both have the owner %s", one.Owner())
	}
	if want := ownerPrefix(t, "billing"); len(one.Owner()) <= len(want) || one.Owner()[:len(want)] != want {
		t.Errorf("the owner %s does not begin with %s", one.Owner(), want)
	}
}
