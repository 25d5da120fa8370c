package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/redis-lock/examples/go/internal/redistest"
	"example.com/redis-lock/examples/go/redislock"
	"github.com/redis/go-redis/v9"
)

const long = time.Minute

func TestMain(m *testing.M) { redistest.Main(m, main) }

func connect(t *testing.T, addr string) *Client {
	locks := redislock.New(&redis.UniversalOptions{Addrs: []string{addr}})
	t.Cleanup(func() { _ = locks.Close() })
	return NewClient(locks)
}

func start(t *testing.T) (*redistest.Server, *Client) {
	t.Parallel()
	server := redistest.Start(t)
	return server, connect(t, server.Addr)
}

func tryLock(t *testing.T, client *Client, expiration time.Duration) *Lock {
	t.Helper()
	lock, err := client.TryLock(t.Context(), key, expiration)
	if err != nil {
		t.Fatal(err)
	}
	return lock
}

func TestErrors(t *testing.T) {
	server, client := start(t)
	lock := tryLock(t, client, long)
	if _, err := client.TryLock(t.Context(), key, long); !errors.Is(err, ErrFailedToPreemptLock) {
		t.Errorf("TryLock of a busy lock: %v", err)
	}
	if _, err := client.Lock(t.Context(), key, long, 50*time.Millisecond); !errors.Is(err, ErrLockTimeout) {
		t.Errorf("Lock of a busy lock: %v", err)
	}
	if waiters := server.Waiters(key); waiters != 0 {
		t.Errorf("%d wait after the time-out", waiters)
	}
	if err := lock.Refresh(t.Context()); err != nil {
		t.Errorf("Refresh: %v", err)
	}
	if err := lock.Unlock(t.Context()); err != nil {
		t.Errorf("Unlock: %v", err)
	}
	if err := lock.Unlock(t.Context()); !errors.Is(err, ErrLockNotHold) {
		t.Errorf("second Unlock: %v", err)
	}
	if err := lock.Refresh(t.Context()); !errors.Is(err, ErrLockNotHold) {
		t.Errorf("Refresh after Unlock: %v", err)
	}
	if _, err := lock.AutoRefresh(t.Context()); !errors.Is(err, ErrLockNotHold) {
		t.Errorf("AutoRefresh after Unlock: %v", err)
	}
}

func TestLateUnlockDoesNotFreeTheNextHolder(t *testing.T) {
	_, client := start(t)
	late := tryLock(t, client, time.Millisecond)
	next, err := client.Lock(t.Context(), key, long, long)
	if err != nil {
		t.Fatal(err)
	}
	if err := late.Unlock(t.Context()); !errors.Is(err, ErrLockNotHold) {
		t.Errorf("the late one's Unlock: %v", err)
	}
	if err := next.Unlock(t.Context()); err != nil {
		t.Errorf("the next one's Unlock: %v", err)
	}
	redistest.Rising(t, []int64{late.Fence(), next.Fence()})
}

func TestGoroutinesGoInOneByOne(t *testing.T) {
	server, client := start(t)
	history := redistest.History(filepath.Join(t.TempDir(), "history"))
	const goroutines, visits = 20, 5
	var visiting sync.WaitGroup
	for range goroutines {
		visiting.Go(func() {
			for range visits {
				lock, err := client.Lock(t.Context(), key, long, long)
				if err != nil {
					t.Error(err)
					return
				}
				err = errors.Join(history.Enter(lock.Fence()), history.Leave(lock.Fence()), lock.Unlock(t.Context()))
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
	server, client := start(t)
	tryLock(t, client, long)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := client.Lock(ctx, key, long, long)
		result <- err
	}()
	redistest.Until(t, "it waits", func() bool { return server.Waiters(key) == 1 })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("Lock: %v", err)
	}
	if waiters := server.Waiters(key); waiters != 0 {
		t.Errorf("%d wait", waiters)
	}
}

func TestLostReplyIsAskedForAgainUnderTheSameOwner(t *testing.T) {
	server, _ := start(t)
	relay := redistest.NewRelay(t, server)
	client := connect(t, relay.Addr)

	relay.LoseReplyTo("LOCK.ACQUIRE")
	lock := tryLock(t, client, long)
	if err := lock.Refresh(t.Context()); err != nil {
		t.Errorf("Refresh: %v", err)
	}
	if relay.Lost() != 1 || server.Count("grants_at_once") != 1 {
		t.Errorf("%d replies lost, %d grants", relay.Lost(), server.Count("grants_at_once"))
	}

	relay.LoseReplyTo("LOCK.EXTEND")
	if err := lock.Refresh(t.Context()); err != nil || relay.Lost() != 2 {
		t.Errorf("Refresh: %v, %d replies lost", err, relay.Lost())
	}
}

// If go-redis gives up, nobody knows the owner any more. The grant is given back, not left to its expiration.
func TestTryLockThatFailsLeavesNoGrant(t *testing.T) {
	server, _ := start(t)
	relay := redistest.NewRelay(t, server)
	locks := redislock.New(&redis.UniversalOptions{Addrs: []string{relay.Addr}, MaxRetries: -1})
	defer locks.Close()
	relay.LoseReplyTo("LOCK.ACQUIRE")
	if _, err := NewClient(locks).TryLock(t.Context(), key, long); err == nil || errors.Is(err, ErrFailedToPreemptLock) {
		t.Fatalf("TryLock: %v", err)
	}
	redistest.Until(t, "the grant is given back", func() bool { return server.Count("releases") == 1 })
}

func TestAutoRefreshHoldsBeyondTheExpiration(t *testing.T) {
	_, client := start(t)
	const expiration = 2 * time.Second
	lock := tryLock(t, client, expiration)
	working, err := lock.AutoRefresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-working.Done():
		t.Fatal(context.Cause(working))
	case <-time.After(2*expiration + expiration/2):
	}
	if _, err := client.TryLock(t.Context(), key, expiration); !errors.Is(err, ErrFailedToPreemptLock) {
		t.Errorf("the rival: %v", err)
	}
	if err := lock.Unlock(t.Context()); err != nil {
		t.Errorf("Unlock: %v", err)
	}
	if cause := redistest.Cause(t, working); !errors.Is(cause, context.Canceled) {
		t.Errorf("after Unlock the cause is %v", cause)
	}
}

// Extensions are lost for a while, but not for a whole expiration.
func TestAutoRefreshSurvivesFailures(t *testing.T) {
	server, _ := start(t)
	relay := redistest.NewRelay(t, server)
	locks := redislock.New(&redis.UniversalOptions{Addrs: []string{relay.Addr}, MaxRetries: -1})
	defer locks.Close()
	lock := tryLock(t, NewClient(locks), 6*time.Second)
	working, err := lock.AutoRefresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	extensions := server.Count("extensions")
	relay.LoseReplyTo("LOCK.EXTEND")
	redistest.Until(t, "it is extended again", func() bool { return server.Count("extensions") >= extensions+3 })
	if relay.Lost() != 1 || working.Err() != nil {
		t.Errorf("%d replies lost, %v", relay.Lost(), context.Cause(working))
	}
}

func TestLossIsToldToTheHolder(t *testing.T) {
	for name, lose := range map[string]func(*redistest.Server){
		"removed by an operator": func(s *redistest.Server) { s.Client().Del(context.Background(), key) },
		"server killed":          func(s *redistest.Server) { s.Kill() },
		"server silent":          func(s *redistest.Server) { s.Pause() },
	} {
		t.Run(name, func(t *testing.T) {
			server, client := start(t)
			lock := tryLock(t, client, time.Second)
			working, err := lock.AutoRefresh(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			lose(server)
			if cause := redistest.Cause(t, working); !errors.Is(cause, ErrLockNotHold) {
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
		"TryLock meanwhile: the lock is busy",
		"Lock for 100 ms meanwhile: the lock was not granted in time",
		"still locked after three times the expiration",
		"an operator removed the lock: the lock is not held",
	} {
		if !strings.Contains(string(output), want) {
			t.Errorf("the output lacks %q:\n%s", want, output)
		}
	}
}
