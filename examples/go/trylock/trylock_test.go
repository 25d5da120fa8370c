package main

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/examples/go/internal/redistest"
)

const (
	key   = "door"
	lease = time.Minute
)

func TestMain(m *testing.M) { redistest.Main(m, main) }

func start(t *testing.T) (*redistest.Server, *lock.Mutex) {
	t.Parallel()
	server := redistest.Start(t)
	return server, server.Locks().Mutex(key, lock.Lease(lease))
}

func TestOneOfManyGetsIn(t *testing.T) {
	_, mutex := start(t)
	var in, refused atomic.Int32
	var trying sync.WaitGroup
	for range 50 {
		trying.Go(func() {
			switch _, err := mutex.TryLock(t.Context()); {
			case err == nil:
				in.Add(1)
			case errors.Is(err, lock.ErrNotAcquired):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	trying.Wait()
	if in.Load() != 1 || refused.Load() != 49 {
		t.Errorf("%d are in, %d were refused", in.Load(), refused.Load())
	}
}

func TestOneAfterTheOther(t *testing.T) {
	_, mutex := start(t)
	history := redistest.History(filepath.Join(t.TempDir(), "history"))
	const goroutines, visits = 8, 10
	var trying sync.WaitGroup
	for range goroutines {
		trying.Go(func() {
			for done := 0; done < visits; {
				hold, err := mutex.TryLock(t.Context())
				if errors.Is(err, lock.ErrNotAcquired) {
					time.Sleep(time.Millisecond)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if err := errors.Join(history.Enter(hold.Fence()), history.Leave(hold.Fence()), hold.Unlock(t.Context())); err != nil {
					t.Error(err)
				}
				done++
			}
		})
	}
	trying.Wait()
	history.Judge(t, goroutines*visits)
}

// The weakness of SETNX and DEL: whoever comes too late frees the lock of the next.
func TestUnlockAfterTheLeaseDoesNotFreeTheNextHolder(t *testing.T) {
	server, mutex := start(t)
	late, err := server.Locks().Mutex(key, lock.Lease(300*time.Millisecond), lock.NoRenewal()).TryLock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "the lease ends", func() bool { return server.Info(key) == nil })
	next, err := mutex.TryLock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := late.Unlock(t.Context()); !errors.Is(err, lock.ErrNotHeld) {
		t.Errorf("the late one's Unlock: %v", err)
	}
	if _, err := mutex.TryLock(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Errorf("a third one is let in: %v", err)
	}
	if err := next.Unlock(t.Context()); err != nil {
		t.Errorf("the next one's Unlock: %v", err)
	}
	redistest.Rising(t, []int64{late.Fence(), next.Fence()})
}

// The client sends the request again by itself. With SETNX the second one would find the lock taken, by nobody who knows it.
func TestLostReplyDoesNotLockOut(t *testing.T) {
	server, _ := start(t)
	relay := redistest.NewRelay(t, server)
	mutex := redistest.Locks(t, relay.Addr).Mutex(key, lock.Lease(lease))
	relay.LoseReplyTo("LOCK.ACQUIRE")
	hold, err := mutex.TryLock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if relay.Lost() != 1 || server.Count("grants_at_once") != 1 {
		t.Errorf("%d replies lost, %d grants", relay.Lost(), server.Count("grants_at_once"))
	}
	if err := hold.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestProgram(t *testing.T) {
	server, _ := start(t)
	output, err := redistest.Program(t, []string{"REDIS_ADDR=" + server.Addr}).Output()
	if err != nil || !strings.Contains(string(output), "a second one meanwhile: example:trylock: others hold the lock") {
		t.Errorf("%v\n%s", err, output)
	}
	if server.Info("example:trylock") != nil {
		t.Error("it does not unlock")
	}
}
