package redislock_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/redis-lock/examples/go/internal/redistest"
	"example.com/redis-lock/examples/go/redislock"
	"github.com/redis/go-redis/v9"
)

const (
	key   = "door"
	lease = time.Minute
)

func connect(t *testing.T, addr string) *redislock.Client {
	locks := redislock.New(&redis.UniversalOptions{Addrs: []string{addr}})
	t.Cleanup(func() { _ = locks.Close() })
	return locks
}

func start(t *testing.T) (*redistest.Server, *redislock.Client) {
	t.Parallel()
	server := redistest.Start(t)
	return server, connect(t, server.Addr)
}

func acquire(t *testing.T, locks *redislock.Client, owner string) int64 {
	t.Helper()
	fence, err := locks.Acquire(t.Context(), key, owner, lease)
	if err != nil {
		t.Fatal(err)
	}
	return fence
}

func TestOnlyTheOwnerReleasesAndExtends(t *testing.T) {
	_, locks := start(t)
	fence := acquire(t, locks, "alice")
	for what, err := range map[string]error{
		"release":                   locks.Release(t.Context(), key, "bob"),
		"extend":                    locks.Extend(t.Context(), key, "bob", fence, lease),
		"extend with another fence": locks.Extend(t.Context(), key, "alice", fence-1, lease),
	} {
		if !errors.Is(err, redislock.ErrNotHeld) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := locks.Acquire(t.Context(), key, "bob", lease); !errors.Is(err, redislock.ErrBusy) {
		t.Errorf("bob: %v", err)
	}
	if err := locks.Release(t.Context(), key, "alice"); err != nil {
		t.Errorf("alice: %v", err)
	}
}

func TestWaitersAreServedInTheOrderOfTheirArrival(t *testing.T) {
	server, locks := start(t)
	acquire(t, locks, "holder")
	const waiters = 8
	var mutex sync.Mutex
	var served []int
	var fences []int64
	var waiting sync.WaitGroup
	for i := range waiters {
		waiting.Go(func() {
			owner := fmt.Sprint("waiter-", i)
			fence, err := locks.Wait(t.Context(), key, owner, lease)
			if err != nil {
				t.Error(err)
				return
			}
			mutex.Lock()
			served, fences = append(served, i), append(fences, fence)
			mutex.Unlock()
			if err := locks.Release(t.Context(), key, owner); err != nil {
				t.Error(err)
			}
		})
		redistest.Until(t, "it waits", func() bool { return server.Waiters(key) == i+1 })
	}
	if err := locks.Release(t.Context(), key, "holder"); err != nil {
		t.Fatal(err)
	}
	waiting.Wait()
	for i, waiter := range served {
		if i != waiter {
			t.Fatalf("served in the order %v", served)
		}
	}
	redistest.Rising(t, fences)
}

func TestCancelledWaitLeavesNothingOnTheServer(t *testing.T) {
	server, locks := start(t)
	acquire(t, locks, "holder")
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := locks.Wait(ctx, key, "bob", lease)
		result <- err
	}()
	redistest.Until(t, "bob waits", func() bool { return server.Waiters(key) == 1 })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("the wait ended with %v", err)
	}
	if waiters := server.Waiters(key); waiters != 0 {
		t.Errorf("%d wait after the cancellation", waiters)
	}
}

func TestWaitEndsWithItsDeadline(t *testing.T) {
	server, locks := start(t)
	acquire(t, locks, "holder")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := locks.Wait(ctx, key, "bob", lease); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the wait ended with %v", err)
	}
	if waiters := server.Waiters(key); waiters != 0 {
		t.Errorf("%d wait after the deadline", waiters)
	}
}

// A longer wait must not be cut off by it: asked for again, it would stand at the end of the line.
func TestWaitIsNotCutOffByTheReadTimeout(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	locks := redislock.New(&redis.UniversalOptions{Addrs: []string{server.Addr}, ReadTimeout: 200 * time.Millisecond})
	defer locks.Close()
	acquire(t, locks, "holder")
	result := make(chan error, 1)
	go func() {
		_, err := locks.Wait(t.Context(), key, "bob", lease)
		result <- err
	}()
	waited := func() int64 {
		queue, _ := server.Info(key)["queue"].([]any)
		if len(queue) == 0 {
			return 0
		}
		return queue[0].(map[any]any)["waited"].(int64)
	}
	redistest.Until(t, "the same wait goes on for a second", func() bool { return waited() > 1000 })
	if err := locks.Release(t.Context(), key, "holder"); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// At whatever moment a wait is cancelled (its connection is not made yet, its request on the way, its grant on the way
// back): neither a waiter nor a hold is left.
func TestCancellationAtAnyMomentLeavesNothing(t *testing.T) {
	server, locks := start(t)
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 30 {
		acquire(t, locks, "holder")
		var waiting sync.WaitGroup
		for range 10 {
			after := time.Duration(random.Int64N(int64(3 * time.Millisecond)))
			waiting.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer time.AfterFunc(after, cancel).Stop()
				owner := redislock.NewOwner()
				if _, err := locks.Wait(ctx, key, owner, lease); err == nil {
					err = locks.Release(t.Context(), key, owner)
					if err != nil {
						t.Error(err)
					}
				} else if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				cancel()
			})
		}
		time.Sleep(time.Duration(random.Int64N(int64(3 * time.Millisecond))))
		if err := locks.Release(t.Context(), key, "holder"); err != nil {
			t.Fatal(err)
		}
		waiting.Wait()
		if info := server.Info(key); info != nil {
			t.Fatalf("something is left: %v", info)
		}
	}
}

// The two take different connections.
func TestWithdrawalThatOvertakesItsWaitIsSentAgain(t *testing.T) {
	server, locks := start(t)
	relay := redistest.NewRelay(t, server)
	far := connect(t, relay.Addr)
	acquire(t, locks, "holder")
	begun, letGo := relay.Delay("LOCK.ACQUIRE")
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := far.Wait(ctx, key, "bob", lease)
		result <- err
	}()
	<-begun
	cancel()
	redistest.Until(t, "the withdrawal is there", func() bool {
		stats, err := server.Client().Info(t.Context(), "commandstats").Result()
		return err == nil && strings.Contains(strings.ToLower(stats), "cmdstat_lock.release:")
	})
	letGo()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("the wait ended with %v", err)
	}
	redistest.Until(t, "the wait is withdrawn", func() bool { return server.Count("waits_withdrawn") == 1 })
}

func TestWithdrawalReachesAServerThatWasStopped(t *testing.T) {
	server, locks := start(t)
	acquire(t, locks, "holder")
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := locks.Wait(ctx, key, "bob", lease)
		result <- err
	}()
	redistest.Until(t, "bob waits", func() bool { return server.Waiters(key) == 1 })
	server.Pause()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("the wait ended with %v", err)
	}
	server.Resume()
	redistest.Until(t, "bob's wait is withdrawn", func() bool { return server.Waiters(key) == 0 })
}

func TestLostReplyToAWaitCostsNoLease(t *testing.T) {
	server, locks := start(t)
	relay := redistest.NewRelay(t, server)
	far := connect(t, relay.Addr)
	acquire(t, locks, "holder")
	relay.LoseReplyTo("LOCK.ACQUIRE")
	result := make(chan int64, 1)
	go func() {
		fence, err := far.Wait(t.Context(), key, "bob", lease)
		if err != nil {
			t.Error(err)
		}
		result <- fence
	}()
	redistest.Until(t, "bob waits", func() bool { return server.Waiters(key) == 1 })
	if err := locks.Release(t.Context(), key, "holder"); err != nil {
		t.Fatal(err)
	}
	fence := <-result
	if relay.Lost() != 1 {
		t.Errorf("%d replies were lost", relay.Lost())
	}
	if err := locks.Extend(t.Context(), key, "bob", fence, lease); err != nil {
		t.Errorf("bob's hold is not the one he was told of: %v", err)
	}
}

// All connections of one pool may be waiting, for a holder that needs one to release.
func TestWaitsDoNotUseUpTheConnectionOfTheHolder(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	locks := redislock.New(&redis.UniversalOptions{Addrs: []string{server.Addr}, PoolSize: 2})
	defer locks.Close()
	acquire(t, locks, "holder")
	const waiters = 20
	var waiting sync.WaitGroup
	for range waiters {
		waiting.Go(func() {
			owner := redislock.NewOwner()
			_, err := locks.Wait(t.Context(), key, owner, lease)
			if err == nil {
				err = locks.Release(t.Context(), key, owner)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	redistest.Until(t, "all wait", func() bool { return server.Waiters(key) == waiters })
	if err := locks.Release(t.Context(), key, "holder"); err != nil {
		t.Fatal(err)
	}
	waiting.Wait()
}

// A server that becomes a replica sends its waiters away; with Sentinel go-redis then leads to the new primary, which here
// is the same server again.
func TestWaiterSentAwayByADemotionAsksAgain(t *testing.T) {
	server, locks := start(t)
	acquire(t, locks, "holder")
	result := make(chan error, 1)
	go func() {
		_, err := locks.Wait(t.Context(), key, "bob", lease)
		result <- err
	}()
	redistest.Until(t, "bob waits", func() bool { return server.Waiters(key) == 1 })
	operator := server.Client()
	if err := operator.ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := operator.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "bob waits again", func() bool { return server.Waiters(key) == 1 })
	if err := locks.Release(t.Context(), key, "holder"); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestErrorsOfTheServerAreToldAsTheyAre(t *testing.T) {
	server, locks := start(t)
	if err := server.Client().Set(t.Context(), key, "a value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	_, tried := locks.Acquire(t.Context(), key, "alice", lease)
	_, waited := locks.Wait(t.Context(), key, "alice", lease)
	for _, err := range []error{tried, waited} {
		if !redis.HasErrorPrefix(err, "WRONGTYPE") || !strings.HasPrefix(err.Error(), "acquire: ") {
			t.Errorf("the error is %v", err)
		}
	}
}
