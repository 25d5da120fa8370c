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

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/examples/go/internal/redistest"
	"github.com/redis/go-redis/v9"
)

const (
	key = "door"
	// Longer than any test, so that nothing that is left behind ends by itself.
	lease = 10 * time.Minute
)

func TestMain(m *testing.M) { redistest.Main(m, main) }

func start(t *testing.T) ([]*redistest.Server, *lock.Quorum) {
	t.Parallel()
	servers := []*redistest.Server{redistest.Start(t), redistest.Start(t), redistest.Start(t)}
	return servers, connect(t, servers)
}

func connect(t *testing.T, servers []*redistest.Server) *lock.Quorum {
	t.Helper()
	var members []redis.UniversalClient
	for _, server := range servers {
		client := redis.NewClient(&redis.Options{Addr: server.Addr})
		t.Cleanup(func() { _ = client.Close() })
		members = append(members, client)
	}
	quorum, err := lock.NewQuorum(members)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = quorum.Close() })
	return quorum
}

func addrs(servers []*redistest.Server) (all []string) {
	for _, server := range servers {
		all = append(all, server.Addr)
	}
	return all
}

func take(t *testing.T, quorum *lock.Quorum, lease time.Duration) *lock.Hold {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	hold, err := quorum.Mutex(key, lock.Lease(lease)).Lock(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return hold
}

// standing is how many servers hold the lock under at least this fence.
func standing(servers []*redistest.Server, fence int64) (count int) {
	for _, server := range servers {
		if info := server.Info(key); info != nil && len(info["holders"].([]any)) > 0 && info["holders"].([]any)[0].(map[any]any)["fence"].(int64) >= fence {
			count++
		}
	}
	return count
}

func TestNeedsAnOddNumberOfServers(t *testing.T) {
	for _, count := range []int{0, 1, 2, 4} {
		if _, err := lock.NewQuorum(make([]redis.UniversalClient, count)); !errors.Is(err, lock.ErrUsage) {
			t.Errorf("%d servers: %v", count, err)
		}
	}
}

func TestMajorityStandsAtTheFence(t *testing.T) {
	servers, redlock := start(t)
	hold := take(t, redlock, lease)
	if count := standing(servers, hold.Fence()); count < 2 {
		t.Errorf("%d servers stand at the fence", count)
	}
	if _, err := connect(t, servers).Mutex(key).TryLock(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Errorf("the rival: %v", err)
	}
	if err := hold.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	for _, server := range servers {
		redistest.Until(t, "each server is free", func() bool { return server.Info(key) == nil })
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
				hold, err := redlock.Mutex(key, lock.Lease(lease)).Lock(t.Context())
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
	visit := func(redlock *lock.Quorum) {
		t.Helper()
		hold := take(t, redlock, lease)
		fences = append(fences, hold.Fence())
		if err := hold.Unlock(t.Context()); err != nil {
			t.Errorf("Unlock: %v", err)
		}
	}
	// A client that reaches all servers but this one.
	without := func(out int) *lock.Quorum {
		some := slices.Clone(servers)
		some[out] = &redistest.Server{Addr: redistest.FreeAddr(t)}
		return connect(t, some)
	}
	for i := range servers {
		servers[i].Kill()
		visit(redlock)
		servers[i].Restart() // Empty. Nobody holds the lock.
		visit(without((i + 1) % len(servers)))
		visit(without(i))
	}
	redistest.Rising(t, fences)
}

func TestStoppedServerHoldsNobodyUp(t *testing.T) {
	servers, redlock := start(t)
	servers[2].Pause()
	first := take(t, redlock, lease)
	if err := first.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	second := take(t, redlock, lease)
	redistest.Rising(t, []int64{first.Fence(), second.Fence()})
	if count := standing(servers[:2], second.Fence()); count != 2 {
		t.Errorf("%d servers stand at the fence", count)
	}
}

// The clock of one server is far ahead, so the others do not follow its fences.
func TestFenceFarAheadDoesNotCount(t *testing.T) {
	servers, redlock := start(t)
	const most = 120_000_000 // Two minutes, in the unit of fences.
	first := take(t, redlock, lease)
	if err := first.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	redistest.Until(t, "the first server is free", func() bool { return servers[0].Info(key) == nil })
	// Its fences run ahead.
	ahead := servers[0].Client()
	fence, err := ahead.Do(t.Context(), "LOCK.ACQUIRE", key, "ahead").Int64()
	if err != nil {
		t.Fatal(err)
	}
	for step := int64(50_000_000); step < most; step += 50_000_000 {
		if err := ahead.Do(t.Context(), "LOCK.EXTEND", key, "ahead", "RAISE", fence+step).Err(); err != nil {
			break // Beyond a minute the server itself refuses.
		}
	}
	if err := ahead.Do(t.Context(), "LOCK.RELEASE", key, "ahead").Err(); err != nil {
		t.Fatal(err)
	}
	second := take(t, redlock, lease)
	redistest.Rising(t, []int64{first.Fence(), second.Fence()})
	if count := standing(servers, second.Fence()); count < 2 {
		t.Errorf("%d servers stand at the fence", count)
	}
}

func TestExtensionNeedsAMajority(t *testing.T) {
	servers, redlock := start(t)
	hold := take(t, redlock, lease)
	servers[0].Kill()
	// A slow machine may need more than one attempt.
	redistest.Until(t, "it is extended on two of three", func() bool { return hold.Extend(t.Context(), lease) == nil })
	servers[1].Kill()
	if err := hold.Extend(t.Context(), lease); !errors.Is(err, lock.ErrNoQuorum) {
		t.Errorf("Extend on one of three: %v", err)
	}
	if _, err := redlock.Mutex(key).TryLock(t.Context()); !errors.Is(err, lock.ErrNoQuorum) {
		t.Errorf("TryLock on one of three: %v", err)
	}
}

func TestRenewalHoldsBeyondTheLeaseAndTellsTheLoss(t *testing.T) {
	servers, redlock := start(t)
	const lease = 2 * time.Second
	hold := take(t, redlock, lease)
	working := hold.Context()
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
	if cause := redistest.Cause(t, working); !errors.Is(cause, lock.ErrNotHeld) {
		t.Errorf("the cause is %v", cause)
	}
	if err := hold.Unlock(t.Context()); !errors.Is(err, lock.ErrNotHeld) {
		t.Errorf("Unlock: %v", err)
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
	if _, err := redlock.Mutex(key, lock.Lease(lease)).Lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
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
