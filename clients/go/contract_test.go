package lock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/clients/go/internal/redistest"
	"example.com/redis-lock/clients/go/locktest"
)

// backend is a server, or the one in memory. What is tested with it holds for both.
type backend struct {
	client  func(...lock.ClientOption) *lock.Client
	waiters func(key string) int
	breaks  func(key string)
}

func onBoth(t *testing.T, test func(t *testing.T, b backend)) {
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t)
		test(t, backend{
			client:  func(options ...lock.ClientOption) *lock.Client { return connect(t, server.Addr, options...) },
			waiters: server.Waiters,
			breaks:  func(key string) { server.Do("DEL", key) },
		})
	})
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		server := locktest.New()
		t.Cleanup(server.Close)
		test(t, backend{client: server.Client, waiters: server.Waiters, breaks: server.Break})
	})
}

func free(t testing.TB, c *lock.Client, key string) bool {
	t.Helper()
	info, err := c.Info(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	return info == nil
}

func TestBothGrantInOrder(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		c := b.client()
		h := locked(t, c.Mutex(key))
		const waiters = 8
		var mu sync.Mutex
		var served []int
		var fences []int64
		var waiting sync.WaitGroup
		for i := range waiters {
			waiting.Go(func() {
				h := locked(t, c.Mutex(key))
				mu.Lock()
				served, fences = append(served, i), append(fences, h.Fence())
				mu.Unlock()
				unlock(t, h)
			})
			redistest.Until(t, "it waits", func() bool { return b.waiters(key) == i+1 })
		}
		unlock(t, h)
		waiting.Wait()
		for i := range served {
			if served[i] != i || i > 0 && fences[i] <= fences[i-1] {
				t.Fatalf("served in the order %v with the fences %v", served, fences)
			}
		}
		if !free(t, c, key) {
			t.Error("it is not free")
		}
	})
}

func TestBothKeepReadersAndWritersApart(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		m := b.client().RWMutex(key)
		one, err := m.RLock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		two, err := m.TryRLock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		granted := make(chan result, 1)
		go func() {
			h, err := m.Lock(t.Context())
			granted <- result{h, err}
		}()
		redistest.Until(t, "the writer waits", func() bool { return b.waiters(key) == 1 })
		_, err = m.TryRLock(t.Context())
		isErr(t, "a reader behind a writer", err, lock.ErrNotAcquired)
		unlock(t, one)
		unlock(t, two)
		writer := (<-granted).must(t)
		if err := writer.Downgrade(t.Context()); err != nil {
			t.Error(err)
		}
		reader, err := m.TryRLock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		unlock(t, reader)
		unlock(t, writer)
	})
}

func TestBothCountUnits(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		s := b.client().Semaphore(key, 3)
		two, err := s.Acquire(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.TryAcquire(t.Context(), 2)
		isErr(t, "two more", err, lock.ErrNotAcquired)
		one, err := s.TryAcquire(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		unlock(t, two)
		unlock(t, one)
	})
}

func TestBothTakeSeveralKeys(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		c := b.client()
		h := locked(t, c.Multi([]string{"a", key}))
		granted := make(chan result, 1)
		go func() {
			h, err := c.Multi([]string{key, "z"}).Lock(t.Context())
			granted <- result{h, err}
		}()
		redistest.Until(t, "it waits", func() bool { return b.waiters(key) == 1 })
		_, err := c.Mutex("z").TryLock(t.Context())
		isErr(t, "a free lock for which somebody waits", err, lock.ErrNotAcquired)
		unlock(t, h)
		unlock(t, (<-granted).must(t))
	})
}

func TestBothFindDeadlocks(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		c := b.client()
		one, two := c.NewOwner(), c.NewOwner()
		a, d := locked(t, one.Mutex("a")), locked(t, two.Mutex(key))
		granted := make(chan result, 1)
		go func() {
			h, err := one.Mutex(key).Lock(t.Context())
			granted <- result{h, err}
		}()
		redistest.Until(t, "it waits", func() bool { return b.waiters(key) == 1 })
		_, err := two.Mutex("a").Lock(t.Context())
		var refused *lock.ServerError
		if !errors.Is(err, lock.ErrDeadlock) || !errors.As(err, &refused) || len(refused.Cycle) != 2 {
			t.Errorf("Lock: %v", err)
		}
		unlock(t, d)
		unlock(t, (<-granted).must(t))
		unlock(t, a)
	})
}

func TestBothTellOfLosses(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		c := b.client()
		for name, options := range map[string][]lock.Option{
			"broken":      {lock.Lease(long)},
			"not renewed": {lock.Lease(300 * time.Millisecond), lock.NoRenewal()},
			"at its max":  {lock.Lease(300 * time.Millisecond), lock.Max(500 * time.Millisecond)},
		} {
			h := locked(t, c.Mutex(name, options...))
			if name == "broken" {
				time.Sleep(200 * time.Millisecond)
				b.breaks(name)
			}
			isErr(t, name, redistest.Cause(t, h.Context()), lock.ErrNotHeld)
			isErr(t, name, h.Unlock(t.Context()), lock.ErrNotHeld)
			if h.Held() {
				t.Errorf("%s: it believes to hold the lock", name)
			}
		}
	})
}

func TestBothRenew(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		h := locked(t, b.client().Mutex(key, lock.Lease(600*time.Millisecond)))
		time.Sleep(1500 * time.Millisecond)
		if check, err := h.Check(t.Context()); err != nil || !h.Held() || check.ExpiresIn <= 0 {
			t.Errorf("Check: %v, %v", check, err)
		}
		unlock(t, h)
	})
}

func TestBothCool(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		c := b.client()
		once := c.OncePer("job", time.Hour)
		ran, err := once.Do(t.Context(), func(context.Context, *lock.Hold) error { return nil })
		if !ran || err != nil {
			t.Errorf("the first run: %v, %v", ran, err)
		}
		ran, err = once.Do(t.Context(), func(context.Context, *lock.Hold) error { return nil })
		if ran || err != nil {
			t.Errorf("the second run: %v, %v", ran, err)
		}
		if info, err := c.Info(t.Context(), "job"); err != nil || info.Mode != "cooling" || info.Cooling < 50*time.Minute {
			t.Errorf("the lock is %v, %v", info, err)
		}
		b.breaks("job")
		failed := errors.New("no disk")
		ran, err = once.Do(t.Context(), func(context.Context, *lock.Hold) error { return failed })
		if !ran || !errors.Is(err, failed) {
			t.Errorf("the run that fails: %v, %v", ran, err)
		}
		if !free(t, c, "job") {
			t.Error("it cools although the job failed")
		}
		_, err = c.OncePer("job", 0).Do(t.Context(), nil)
		isErr(t, "a period of 0", err, lock.ErrUsage)
	})
}

func TestBothElectAndObserve(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		one, two, seer := b.client(), b.client(), b.client()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		seen := seer.Leader(key).Observe(ctx)
		expect := func(owner string) {
			t.Helper()
			select {
			case now := <-seen:
				// Between two leaders there may be none for a moment.
				if now.Owner == "" && owner != "" {
					now = <-seen
				}
				if now.Owner != owner {
					t.Errorf("%q leads, not %q", now.Owner, owner)
				}
			case <-time.After(redistest.Patience):
				t.Fatalf("nobody tells that %q leads", owner)
			}
		}
		expect("")
		first, err := one.Leader(key, lock.Session()).Elect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		expect(first.Owner())
		led := make(chan *lock.Hold)
		result := make(chan error, 1)
		go func() {
			result <- two.Leader(key).Lead(ctx, func(ctx context.Context, h *lock.Hold) error {
				led <- h
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		redistest.Until(t, "the second stands for election", func() bool { return b.waiters(key) == 1 })
		unlock(t, first)
		second := <-led
		expect(second.Owner())
		b.breaks(key)
		third := <-led // It stands again after it lost.
		if third.Fence() <= second.Fence() {
			t.Errorf("the fence falls from %d to %d", second.Fence(), third.Fence())
		}
		cancel()
		isErr(t, "Lead", <-result, context.Canceled)
		for range seen {
		}
		if !free(t, seer, key) {
			t.Error("it still leads")
		}
	})
}

func TestBothShowLocks(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		c := b.client()
		for i := range 120 {
			locked(t, c.Mutex(fmt.Sprint("item:", i)))
		}
		last := locked(t, c.Mutex(key))
		seen := map[string]bool{}
		for entry, err := range c.List(t.Context(), lock.Filter{Match: "item:*"}) {
			if err != nil {
				t.Fatal(err)
			}
			seen[entry.Key] = true
		}
		if len(seen) != 120 || seen[key] {
			t.Errorf("%d locks are listed", len(seen))
		}
		for entry, err := range c.List(t.Context(), lock.Filter{Owner: last.Owner()}) {
			if err != nil || entry.Key != key || entry.Fence != last.Fence() || entry.ExpiresIn <= 0 {
				t.Errorf("listed: %v, %v", entry, err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _, _ = c.Mutex(key).Lock(ctx) }()
		redistest.Until(t, "one waits", func() bool { return b.waiters(key) == 1 })
		top, err := c.Top(t.Context(), 5)
		if err != nil || len(top) != 1 || top[0].Key != key || top[0].Waiters != 1 || len(top[0].Queue) != 1 {
			t.Errorf("Top: %v, %v", top, err)
		}
		info, err := c.Info(t.Context(), key)
		if err != nil || info.HoldersCount != 1 || info.Holders[0].Owner != last.Owner() || info.Waiters != 1 || info.Mode != "exclusive" {
			t.Errorf("Info: %v, %v", info, err)
		}
	})
}

func TestBothLeaveNothingAfterCancellations(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		c := b.client()
		var cancelled sync.WaitGroup
		for i := range 200 {
			cancelled.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer time.AfterFunc(time.Duration(i)*100*time.Microsecond, cancel).Stop()
				defer cancel()
				if h, err := c.Mutex(key, lock.Lease(long)).Lock(ctx); err == nil {
					unlock(t, h)
				}
			})
		}
		cancelled.Wait()
		redistest.Until(t, "it is free", func() bool { return free(t, c, key) })
	})
}
