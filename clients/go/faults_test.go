package lock_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/clients/go/internal/redistest"
)

// At whatever moment an acquisition is cancelled, neither a waiter nor a hold is left. The network is slow and uneven, so
// that a RELEASE on another connection would overtake the ACQUIRE.
func TestThousandCancellationsLeaveNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	relay := redistest.NewRelay(t, server)
	far := connect(t, relay.Addr)
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for _, round := range []struct {
		times        int
		delay, after time.Duration
	}{{700, 0, 20 * time.Millisecond}, {300, 100 * time.Millisecond, 300 * time.Millisecond}} {
		if round.delay > 0 {
			relay.Delay(func() time.Duration { return round.delay + rand.N(round.delay) })
		}
		limit := make(chan struct{}, 50)
		var cancelled sync.WaitGroup
		for i := range round.times {
			after := time.Duration(random.Int64N(int64(round.after)))
			name := fmt.Sprint("lock-", i%7)
			limit <- struct{}{}
			cancelled.Go(func() {
				defer func() { <-limit }()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				defer time.AfterFunc(after, cancel).Stop()
				h, err := far.Mutex(name, lock.Lease(long)).Lock(ctx)
				if err == nil {
					err = h.Unlock(context.Background())
				}
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		cancelled.Wait()
		redistest.Until(t, "no lock is left", func() bool { return len(server.Do("KEYS", "*").([]any)) == 0 })
	}
}

func TestRequestThatIsCancelledOnItsWayLeavesNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	relay := redistest.NewRelay(t, server)
	c := connect(t, relay.Addr)
	unlock(t, locked(t, c.Mutex("warm")))
	begun, letGo := relay.Hold("LOCK.ACQUIRE")
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := c.Mutex(key, lock.Lease(long)).Lock(ctx)
		failed <- err
	}()
	<-begun
	cancel()
	isErr(t, "Lock", <-failed, context.Canceled)
	time.Sleep(300 * time.Millisecond) // A release that overtakes it would be there by now.
	grants := server.Count("grants_at_once")
	letGo()
	redistest.Until(t, "it was granted", func() bool { return server.Count("grants_at_once") == grants+1 })
	redistest.Until(t, "it is free", func() bool { return server.Info(key) == nil })
}

func TestRequestThatIsCancelledWhileTheServerStandsStillLeavesNothing(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	unlock(t, locked(t, c.Mutex("warm")))
	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := c.Mutex(key, lock.Lease(long)).Lock(ctx)
	isErr(t, "Lock", err, context.DeadlineExceeded)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the caller waited for %v", took)
	}
	time.Sleep(4 * time.Second) // Longer than any time-out of a request.
	server.Resume()
	redistest.Until(t, "it was granted", func() bool { return server.Count("grants_at_once") == 2 })
	redistest.Until(t, "it is free", func() bool { return server.Info(key) == nil })
}

func TestLostRepliesCostNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	relay := redistest.NewRelay(t, server)
	c := connect(t, relay.Addr)
	m := c.Mutex(key, lock.Lease(long))
	relay.LoseReplyTo("LOCK.ACQUIRE")
	h := locked(t, m)
	if relay.Lost() != 1 || server.Count("grants_at_once") != 1 {
		t.Errorf("%d replies lost, %d grants", relay.Lost(), server.Count("grants_at_once"))
	}
	relay.LoseReplyTo("LOCK.EXTEND")
	if err := h.Extend(t.Context(), long); err != nil {
		t.Errorf("Extend: %v", err)
	}
	relay.LoseReplyTo("LOCK.RELEASE")
	unlock(t, h)
	if relay.Lost() != 3 || server.Info(key) != nil {
		t.Errorf("%d replies lost, the lock is %v", relay.Lost(), server.Info(key))
	}
}

func TestLostReplyToAWaitCostsNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	relay := redistest.NewRelay(t, server)
	near, far := connect(t, server.Addr), connect(t, relay.Addr)
	h := locked(t, near.Mutex(key))
	waits := waiting(t, server, far.Mutex(key, lock.Lease(long)), t.Context())
	relay.CloseAll()
	redistest.Until(t, "it waits again", func() bool { return server.Waiters(key) == 1 })
	unlock(t, h)
	second := (<-waits).must(t)
	if check, err := second.Check(t.Context()); err != nil || check.ExpiresIn < long/2 {
		t.Errorf("Check: %v, %v", check, err)
	}
	unlock(t, second)
}

func TestWaitOutlivesRefusedConnectionsAndRestarts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	relay := redistest.NewRelay(t, server)
	near, far := connect(t, server.Addr), connect(t, relay.Addr)
	locked(t, near.Mutex(key, lock.Lease(long)))
	waits := waiting(t, server, far.Mutex(key), within(t, redistest.Patience))
	relay.Refuse()
	redistest.Until(t, "nobody waits", func() bool { return server.Waiters(key) == 0 })
	time.Sleep(500 * time.Millisecond)
	relay.Accept(t)
	redistest.Until(t, "it waits again", func() bool { return server.Waiters(key) == 1 })
	server.Kill()
	server.Restart()
	unlock(t, (<-waits).must(t))
}

func TestWaitOutlivesWhatTheServerRefusesForAWhile(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"TRYAGAIN not now", "CLUSTERDOWN the cluster is down", "LOADING the data", "READONLY You can't write",
		"MASTERDOWN the link is down", "UNBLOCKED force unblock",
	} {
		t.Run(strings.Fields(text)[0], func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			relay := redistest.NewRelay(t, server)
			c := connect(t, relay.Addr)
			relay.Answer(text)
			granted := make(chan result, 1)
			go func() {
				h, err := c.Mutex(key).Lock(within(t, redistest.Patience))
				granted <- result{h, err}
			}()
			redistest.Until(t, "it asks again", func() bool { return relay.Answered() >= 4 })
			relay.Answer("")
			unlock(t, (<-granted).must(t))
		})
	}
}

func TestRefusalUntilTheEndIsToldInTheWordsOfTheServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	relay := redistest.NewRelay(t, server)
	c := connect(t, relay.Addr)
	relay.Answer("READONLY You can't write against a read only replica.")
	_, err := c.Mutex(key).Lock(within(t, 2*time.Second))
	var refused *lock.ServerError
	if !errors.As(err, &refused) || refused.Code() != "READONLY" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Lock: %v", err)
	}
	if relay.Accepted() > 8 || relay.Answered() > 50 {
		t.Errorf("%d connections, %d requests", relay.Accepted(), relay.Answered())
	}
	relay.Refuse()
	_, err = c.Mutex(key).Lock(within(t, time.Second))
	isErr(t, "Lock of a server that refuses connections", err, lock.ErrUnreachable)
	_, err = c.Mutex(key).TryLock(t.Context())
	isErr(t, "TryLock of a server that refuses connections", err, lock.ErrUnreachable)
}

func TestStallShorterThanTheLeaseLosesNothing(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	const holds, lease = 500, 6 * time.Second
	var all []*lock.Hold
	for i := range holds {
		all = append(all, locked(t, c.Mutex(fmt.Sprint("lock-", i), lock.Lease(lease))))
	}
	opened := c.ConnectionsOpened()
	server.Pause()
	time.Sleep(lease / 2)
	server.Resume()
	time.Sleep(lease / 2)
	for i, h := range all {
		if err := h.Err(); err != nil {
			t.Fatalf("hold %d: %v", i, err)
		}
	}
	if count := server.Number("redislock", "redislock_locks_held"); count != holds {
		t.Errorf("the server knows %d locks", count)
	}
	if opened = c.ConnectionsOpened() - opened; opened > 10 {
		t.Errorf("%d connections were opened", opened)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if count := server.Number("redislock", "redislock_locks_held"); count != 0 {
		t.Errorf("%d locks are left after Close", count)
	}
}

// A time-out says nothing of the connection, also if it is much shorter than the stall.
func TestShortTimeoutsBreakNoConnection(t *testing.T) {
	t.Parallel()
	server, c := start(t, lock.WithRequestTimeout(100*time.Millisecond))
	h := locked(t, c.Mutex(key, lock.Lease(9*time.Second)))
	opened := c.ConnectionsOpened()
	server.Pause()
	for range 20 {
		_, err := c.Mutex("other").TryLock(t.Context())
		isErr(t, "TryLock", err, lock.ErrUnreachable)
	}
	server.Resume()
	time.Sleep(2 * time.Second)
	if err := h.Err(); err != nil {
		t.Error(err)
	}
	if opened = c.ConnectionsOpened() - opened; opened > 4 { // Those of probes.
		t.Errorf("%d connections were opened", opened)
	}
	redistest.Until(t, "no attempt left anything", func() bool { return server.Info("other") == nil })
	unlock(t, h)
}

func TestUncontendedLocksShareConnections(t *testing.T) {
	t.Parallel()
	_, c := start(t)
	m := c.Mutex(key)
	for range 1000 {
		unlock(t, locked(t, m))
	}
	if opened := c.ConnectionsOpened(); opened > 2 {
		t.Errorf("%d connections were opened", opened)
	}
}

func TestWaitsAreBoundedAndDoNotKeepAHolderFromReleasing(t *testing.T) {
	t.Parallel()
	server, c := start(t, lock.WithMaxWaits(3))
	m := c.Mutex(key)
	h := locked(t, m)
	var waiting sync.WaitGroup
	for range 14 {
		waiting.Go(func() { unlock(t, locked(t, m)) })
	}
	redistest.Until(t, "three wait", func() bool { return server.Waiters(key) == 3 })
	unlock(t, h)
	waiting.Wait()
	if opened := c.ConnectionsOpened(); opened > 5 {
		t.Errorf("%d connections were opened", opened)
	}
}

func TestSharedWaitsStandBehindOne(t *testing.T) {
	t.Parallel()
	server, c := start(t, lock.WithSharedWaits())
	m := c.Mutex(key)
	h := locked(t, m)
	var waiting sync.WaitGroup
	for range 20 {
		waiting.Go(func() { unlock(t, locked(t, m)) })
	}
	redistest.Until(t, "one waits", func() bool { return server.Waiters(key) == 1 })
	time.Sleep(50 * time.Millisecond)
	if waiters := server.Waiters(key); waiters != 1 {
		t.Errorf("%d wait", waiters)
	}
	unlock(t, h)
	waiting.Wait()
}

func TestCloseEndsWaitsAndHolds(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	other := connect(t, server.Addr)
	locked(t, other.Mutex(key))
	h := locked(t, c.Mutex("mine", lock.Lease(long)))
	waits := waiting(t, server, c.Mutex(key), t.Context())
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	isErr(t, "the wait", (<-waits).err, lock.ErrClosed)
	isErr(t, "the cause", redistest.Cause(t, h.Context()), lock.ErrNotHeld)
	if server.Waiters(key) != 0 || server.Info("mine") != nil {
		t.Error("something is left")
	}
	_, err := c.Mutex(key).TryLock(t.Context())
	isErr(t, "TryLock", err, lock.ErrClosed)
	_, err = c.Mutex(key).Lock(t.Context())
	isErr(t, "Lock", err, lock.ErrClosed)
}

func TestCloseDoesNotWaitForAServerThatHangs(t *testing.T) {
	t.Parallel()
	server, c := start(t)
	locked(t, c.Mutex(key))
	server.Pause()
	defer server.Resume()
	began := time.Now()
	_ = c.Close()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("Close took %v", took)
	}
}
