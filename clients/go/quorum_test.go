package lock_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/clients/go/internal/redistest"
	"github.com/redis/go-redis/v9"
)

func members(t testing.TB, count int) []*redistest.Server {
	t.Helper()
	var servers []*redistest.Server
	for range count {
		servers = append(servers, redistest.Start(t))
	}
	return servers
}

func quorum(t testing.TB, servers []*redistest.Server, options ...lock.ClientOption) *lock.Quorum {
	t.Helper()
	var clients []redis.UniversalClient
	for _, server := range servers {
		rdb := redis.NewClient(&redis.Options{Addr: server.Addr})
		t.Cleanup(func() { _ = rdb.Close() })
		clients = append(clients, rdb)
	}
	q, err := lock.NewQuorum(clients, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

// standing is how many servers hold the lock under at least this fence.
func standing(servers []*redistest.Server, fence int64) (count int) {
	for _, server := range servers {
		if info := server.Info(key); info != nil && len(info["holders"].([]any)) > 0 &&
			info["holders"].([]any)[0].(map[any]any)["fence"].(int64) >= fence {
			count++
		}
	}
	return count
}

func TestQuorumNeedsAnOddNumber(t *testing.T) {
	t.Parallel()
	for _, count := range []int{0, 1, 2, 4} {
		_, err := lock.NewQuorum(make([]redis.UniversalClient, count))
		isErr(t, "NewQuorum", err, lock.ErrUsage)
	}
}

func TestQuorumStandsAtOneFence(t *testing.T) {
	t.Parallel()
	servers := members(t, 3)
	q := quorum(t, servers)
	m := q.Mutex(key)
	h := locked(t, m)
	if count := standing(servers, h.Fence()); count < 2 {
		t.Errorf("%d members stand at the fence", count)
	}
	_, err := m.TryLock(t.Context())
	isErr(t, "TryLock", err, lock.ErrNotAcquired)
	if check, err := h.Check(t.Context()); err != nil || check.ExpiresIn <= 0 {
		t.Errorf("Check: %v, %v", check, err)
	}
	unlock(t, h)
	for _, server := range servers {
		redistest.Until(t, "it is free", func() bool { return server.Info(key) == nil })
	}
	servers[0].Do("SET", key, "a")
	servers[1].Do("SET", key, "a")
	_, err = m.Lock(t.Context())
	isErr(t, "Lock of a string", err, lock.ErrWrongType)
}

func TestQuorumWaiterIsGrantedAfterTheHolder(t *testing.T) {
	t.Parallel()
	servers := members(t, 3)
	one, two := quorum(t, servers), quorum(t, servers)
	h := locked(t, one.Mutex(key, lock.Lease(long)))
	granted := make(chan result, 1)
	go func() {
		h, err := two.Mutex(key, lock.Lease(long)).Lock(within(t, redistest.Patience))
		granted <- result{h, err}
	}()
	redistest.Until(t, "it waits", func() bool { return servers[0].Waiters(key) == 1 })
	unlock(t, h)
	second := (<-granted).must(t)
	if second.Fence() <= h.Fence() || standing(servers, second.Fence()) < 2 {
		t.Errorf("fence %d after %d, %d stand", second.Fence(), h.Fence(), standing(servers, second.Fence()))
	}
	_, err := one.Mutex(key).Lock(within(t, 300*time.Millisecond))
	isErr(t, "Lock", err, lock.ErrNotAcquired)
	isErr(t, "Lock", err, context.DeadlineExceeded)
	unlock(t, second)
}

func TestQuorumWorksWithoutAMinority(t *testing.T) {
	t.Parallel()
	servers := members(t, 3)
	q := quorum(t, servers)
	var last int64
	for i := range servers {
		servers[i].Pause()
		h := locked(t, q.Mutex(key, lock.Lease(3*time.Second)))
		if h.Fence() <= last {
			t.Errorf("the fence falls from %d to %d", last, h.Fence())
		}
		last = h.Fence()
		if err := h.Unlock(t.Context()); err != nil && !errors.Is(err, lock.ErrNoQuorum) {
			t.Error(err)
		}
		servers[i].Resume()
	}
	servers[0].Kill()
	servers[1].Kill()
	_, err := q.Mutex(key).TryLock(t.Context())
	isErr(t, "TryLock on one of three", err, lock.ErrNoQuorum)
	_, err = q.Mutex(key).Lock(within(t, time.Second))
	isErr(t, "Lock on one of three", err, lock.ErrNoQuorum)
	redistest.Until(t, "the third is free", func() bool { return servers[2].Info(key) == nil })
}

// C15: holds never came back to a member that restarted empty.
func TestQuorumMemberThatComesBackEmptyTakesPartAgain(t *testing.T) {
	t.Parallel()
	servers := members(t, 3)
	q := quorum(t, servers)
	h := locked(t, q.Mutex(key, lock.Lease(1500*time.Millisecond)))
	redistest.Until(t, "all stand", func() bool { return standing(servers, h.Fence()) == 3 })
	servers[0].Kill()
	servers[0].Restart()
	redistest.Until(t, "all stand again", func() bool { return standing(servers, h.Fence()) == 3 })
	servers[1].Kill()
	select {
	case <-h.Context().Done():
		t.Fatal(context.Cause(h.Context()))
	case <-time.After(3 * time.Second):
	}
	servers[0].Do("DEL", key)
	servers[2].Do("DEL", key)
	isErr(t, "the cause", redistest.Cause(t, h.Context()), lock.ErrNotHeld)
}

// C12: 50 clients got a quarter of the grants of 5.
func TestQuorumUnderContention(t *testing.T) {
	servers := members(t, 3)
	grants := func(clients int) (count int64) {
		var granted atomic.Int64
		var last atomic.Int64
		var inside atomic.Int32
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var running sync.WaitGroup
		for range clients {
			q := quorum(t, servers)
			running.Go(func() {
				m := q.Mutex(key, lock.Lease(5*time.Second))
				for ctx.Err() == nil {
					h, err := m.Lock(ctx)
					if err != nil {
						if ctx.Err() == nil {
							t.Error(err)
						}
						return
					}
					if inside.Add(1) != 1 || last.Swap(h.Fence()) >= h.Fence() {
						t.Error("two are in, or the fence falls")
					}
					granted.Add(1)
					inside.Add(-1)
					if err := h.Unlock(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		running.Wait()
		return granted.Load()
	}
	// Other programs may keep the machine busy for a while.
	for range 3 {
		few, many := grants(5), grants(50)
		t.Logf("5 clients: %d grants, 50 clients: %d", few, many)
		if many >= few/2 {
			return
		}
	}
	t.Error("50 clients get less than half the grants of 5")
}

func TestQuorumRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	servers := members(t, 3)
	q := quorum(t, servers)
	for _, option := range []lock.Option{lock.Session(), lock.Durable(1, time.Second), lock.Max(time.Second), lock.Delay(time.Second)} {
		_, err := q.Mutex(key, option).TryLock(t.Context())
		isErr(t, "TryLock", err, lock.ErrUsage)
	}
	h := locked(t, q.Mutex(key))
	isErr(t, "Downgrade", h.Downgrade(t.Context()), lock.ErrUsage)
	isErr(t, "UnlockAndCool", h.UnlockAndCool(t.Context(), time.Second), lock.ErrUsage)
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	isErr(t, "the cause", redistest.Cause(t, h.Context()), lock.ErrNotHeld)
	_, err := q.Mutex(key).Lock(t.Context())
	isErr(t, "Lock", err, lock.ErrClosed)
}
