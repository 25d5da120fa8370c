package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/redis-lock/examples/go/internal/redistest"
	"example.com/redis-lock/examples/go/redislock"
)

const (
	key = "door"
	// Longer than any test, so that nothing that is left behind ends by itself.
	lease = 10 * time.Minute
)

func TestMain(m *testing.M) { redistest.Main(m, main) }

func start(t *testing.T) ([]*redistest.Server, *Redlock) {
	t.Parallel()
	servers := []*redistest.Server{redistest.Start(t), redistest.Start(t), redistest.Start(t)}
	return servers, connect(t, servers)
}

func connect(t *testing.T, servers []*redistest.Server) *Redlock {
	t.Helper()
	redlock, err := New(addrs(servers)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = redlock.Close() })
	return redlock
}

func addrs(servers []*redistest.Server) (all []string) {
	for _, server := range servers {
		all = append(all, server.Addr)
	}
	return all
}

func lock(t *testing.T, redlock *Redlock, lease time.Duration) *Hold {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	hold, err := redlock.Lock(ctx, key, lease)
	if err != nil {
		t.Fatal(err)
	}
	return hold
}

// standing is how many servers hold the lock under this fence.
func standing(servers []*redistest.Server, fence int64) (count int) {
	for _, server := range servers {
		if info := server.Info(key); info != nil && info["holders"].([]any)[0].(map[any]any)["fence"] == fence {
			count++
		}
	}
	return count
}

func TestNeedsAnOddNumberOfServers(t *testing.T) {
	for _, addrs := range [][]string{{}, {"a:1"}, {"a:1", "b:1"}, {"a:1", "b:1", "c:1", "d:1"}} {
		if _, err := New(addrs...); err == nil {
			t.Errorf("%d servers are accepted", len(addrs))
		}
	}
}

func TestMajorityStandsAtTheFence(t *testing.T) {
	servers, redlock := start(t)
	hold := lock(t, redlock, lease)
	if count := standing(servers, hold.Fence()); count < 2 {
		t.Errorf("%d servers stand at the fence", count)
	}
	if _, err := connect(t, servers).TryLock(t.Context(), key, lease); !errors.Is(err, redislock.ErrBusy) {
		t.Errorf("the rival: %v", err)
	}
	if err := hold.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	for _, server := range servers {
		if server.Info(key) != nil {
			t.Error("a server still holds it after Unlock")
		}
	}
}

func TestManyClientsGoInOneByOne(t *testing.T) {
	servers, _ := start(t)
	history := redistest.History(filepath.Join(t.TempDir(), "history"))
	const clients, visits = 4, 5
	var visiting sync.WaitGroup
	for range clients {
		redlock := connect(t, servers)
		visiting.Go(func() {
			for range visits {
				hold, err := redlock.Lock(t.Context(), key, lease)
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
	history.Judge(t, clients*visits)
}

// A server that comes back empty gives fences that lie above those of the others, because they begin with its clock's and a
// start ahead. So without agreeing on a fence, whoever then locks on the other two would get a smaller one.
func TestFencesRiseWhicheverServerIsOut(t *testing.T) {
	servers, redlock := start(t)
	var fences []int64
	take := func(redlock *Redlock) {
		t.Helper()
		hold := lock(t, redlock, lease)
		fences = append(fences, hold.Fence())
		if err := hold.Unlock(t.Context()); err != nil {
			t.Errorf("Unlock: %v", err)
		}
	}
	// A client that reaches all servers but this one.
	without := func(out int) *Redlock {
		some := slices.Clone(servers)
		some[out] = &redistest.Server{Addr: redistest.FreeAddr(t)}
		return connect(t, some)
	}
	for i := range servers {
		servers[i].Kill()
		take(redlock)
		servers[i].Restart() // Empty. Nobody holds the lock.
		take(without((i + 1) % len(servers)))
		take(without(i))
	}
	redistest.Rising(t, fences)
}

func TestStoppedServerHoldsNobodyUp(t *testing.T) {
	servers, redlock := start(t)
	servers[2].Pause()
	first := lock(t, redlock, lease)
	if err := first.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	second := lock(t, redlock, lease)
	redistest.Rising(t, []int64{first.Fence(), second.Fence()})
	if count := standing(servers[:2], second.Fence()); count != 2 {
		t.Errorf("%d servers stand at the fence", count)
	}
}

// The clock of one server is far ahead, so the others do not follow its fences.
func TestFenceFarAheadDoesNotCount(t *testing.T) {
	servers, redlock := start(t)
	hold := lock(t, redlock, lease)
	const hour = 3_600_000_000 // In the unit of fences.
	fence, err := redlock.agree(t.Context(), hold, []int64{hold.Fence() + hour, hold.Fence(), hold.Fence() - 1})
	if err != nil || fence != hold.Fence() {
		t.Errorf("they agree on %d, not %d: %v", fence, hold.Fence(), err)
	}
	if count := standing(servers, fence); count < 2 {
		t.Errorf("%d servers stand at the fence", count)
	}
	if fence, err := redlock.agree(t.Context(), hold, []int64{hold.Fence() + hour, hold.Fence(), 0}); !errors.Is(err, ErrNoQuorum) {
		t.Errorf("one server is enough: %d, %v", fence, err)
	}
}

func TestExtensionNeedsAMajority(t *testing.T) {
	servers, redlock := start(t)
	hold := lock(t, redlock, lease)
	servers[0].Kill()
	// A slow machine may need more than one attempt.
	redistest.Until(t, "it is extended on two of three", func() bool {
		until, err := hold.Extend(t.Context())
		return err == nil && until.After(hold.Until())
	})
	servers[1].Kill()
	if _, err := hold.Extend(t.Context()); !errors.Is(err, ErrNoQuorum) {
		t.Errorf("Extend on one of three: %v", err)
	}
	if _, err := redlock.TryLock(t.Context(), key, lease); !errors.Is(err, ErrNoQuorum) {
		t.Errorf("TryLock on one of three: %v", err)
	}
}

func TestRenewalHoldsBeyondTheLeaseAndTellsTheLoss(t *testing.T) {
	servers, redlock := start(t)
	const lease = 2 * time.Second
	hold := lock(t, redlock, lease)
	working := hold.Renew(t.Context())
	servers[0].Kill()
	select {
	case <-working.Done():
		t.Fatal(context.Cause(working))
	case <-time.After(2*lease + lease/2):
	}
	if count := standing(servers[1:], hold.Fence()); count != 2 {
		t.Errorf("%d servers stand at the fence", count)
	}
	for _, server := range servers[1:] {
		if err := server.Client().Del(t.Context(), key).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if cause := redistest.Cause(t, working); !errors.Is(cause, redislock.ErrNotHeld) {
		t.Errorf("the cause is %v", cause)
	}
	if err := hold.Unlock(t.Context()); !errors.Is(err, redislock.ErrNotHeld) {
		t.Errorf("Unlock: %v", err)
	}
}

func TestStrangersReleaseNothing(t *testing.T) {
	servers, redlock := start(t)
	hold := lock(t, redlock, lease)
	stranger := &Hold{redlock: redlock, key: key, owner: redislock.NewOwner(), lease: lease, stopRenewal: func() {}}
	if err := stranger.Unlock(t.Context()); !errors.Is(err, redislock.ErrNotHeld) {
		t.Errorf("the stranger's Unlock: %v", err)
	}
	if count := standing(servers, hold.Fence()); count < 2 {
		t.Errorf("%d servers stand at the fence", count)
	}
}

func TestFailedAttemptLeavesNothing(t *testing.T) {
	servers, redlock := start(t)
	for _, server := range servers[:2] { // Others have the majority.
		if err := server.Client().Do(t.Context(), "LOCK.ACQUIRE", key, "other").Err(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := redlock.Lock(ctx, key, lease); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Lock: %v", err)
	}
	redistest.Until(t, "the third server is free", func() bool { return servers[2].Info(key) == nil })
}

func TestProgram(t *testing.T) {
	servers, _ := start(t)
	output, err := redistest.Program(t, []string{"REDIS_ADDRS=" + strings.Join(addrs(servers), ",")}).Output()
	if err != nil || strings.Count(string(output), "locked, fence") != 3 {
		t.Errorf("%v\n%s", err, output)
	}
}
