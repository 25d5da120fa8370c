package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/examples/go/internal/redistest"
	"github.com/redis/go-redis/v9"
)

func TestMain(m *testing.M) { redistest.Main(m, main) }

func start(t *testing.T) (*redistest.Server, *lock.Client) {
	t.Parallel()
	server := redistest.Start(t)
	return server, server.Locks()
}

func program(t *testing.T, server *redistest.Server, args ...string) *exec.Cmd {
	return redistest.Program(t, []string{"REDIS_ADDR=" + server.Addr}, args...)
}

// addition is a line that the program prints.
type addition struct {
	value int
	fence int64
}

func additions(t *testing.T, output string) (all []addition) {
	t.Helper()
	for line := range strings.Lines(output) {
		var one addition
		if _, err := fmt.Sscanf(line, "counter %d fence %d", &one.value, &one.fence); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, one)
	}
	return all
}

func TestManyProcessesLoseNoAddition(t *testing.T) {
	server, _ := start(t)
	const processes, times = 6, 20
	var mutex sync.Mutex
	var all []addition
	var running sync.WaitGroup
	for range processes {
		running.Go(func() {
			output, err := program(t, server, "-n", fmt.Sprint(times), "-work", "2ms").Output()
			if err != nil {
				t.Error(err)
				return
			}
			mutex.Lock()
			defer mutex.Unlock()
			all = append(all, additions(t, string(output))...)
		})
	}
	running.Wait()

	slices.SortFunc(all, func(a, b addition) int { return a.value - b.value })
	if len(all) != processes*times {
		t.Fatalf("%d additions, want %d", len(all), processes*times)
	}
	var fences []int64
	for i, one := range all {
		if one.value != i+1 {
			t.Fatalf("addition %d made the counter %d", i+1, one.value)
		}
		fences = append(fences, one.fence)
	}
	redistest.Rising(t, fences)
	if value, err := server.Client().Get(t.Context(), counterKey).Int(); err != nil || value != processes*times {
		t.Errorf("the counter is %d, %v", value, err)
	}
}

func TestDeadProcessKeepsTheOthersOutForItsLeaseOnly(t *testing.T) {
	server, _ := start(t)
	dead := program(t, server, "-n", "1", "-work", "1h", "-lease", "1s")
	if err := dead.Start(); err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "it holds the lock", func() bool { return server.Info(lockKey) != nil })
	next := program(t, server, "-n", "1", "-work", "1ms")
	result := make(chan error, 1)
	go func() { result <- next.Run() }()
	redistest.Until(t, "the next waits", func() bool { return server.Waiters(lockKey) == 1 })
	_ = dead.Process.Kill()
	_ = dead.Wait()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if server.Count("lease_ends") != 1 {
		t.Errorf("%d leases ended", server.Count("lease_ends"))
	}
}

func TestRenewalHoldsBeyondTheLease(t *testing.T) {
	server, locks := start(t)
	const lease = 2 * time.Second
	err := locks.Mutex(lockKey, lock.Lease(lease)).Do(t.Context(), func(ctx context.Context, hold *lock.Hold) error {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(2*lease + lease/2):
		}
		if _, err := locks.Mutex(lockKey).TryLock(ctx); !errors.Is(err, lock.ErrNotAcquired) {
			return fmt.Errorf("the rival: %w", err)
		}
		return set(ctx, server.Client(), hold, counterKey, 1)
	})
	if err != nil {
		t.Fatal(err)
	}
	if server.Info(lockKey) != nil {
		t.Error("it was not released")
	}
}

func TestLossEndsTheWorkAtOnce(t *testing.T) {
	server, locks := start(t)
	err := locks.Mutex(lockKey, lock.Lease(time.Second)).Do(t.Context(), func(ctx context.Context, _ *lock.Hold) error {
		if err := server.Client().Del(ctx, lockKey).Err(); err != nil {
			return err
		}
		if cause := redistest.Cause(t, ctx); !errors.Is(cause, lock.ErrNotHeld) {
			t.Errorf("the cause is %v", cause)
		}
		return nil
	})
	if !errors.Is(err, lock.ErrNotHeld) {
		t.Errorf("Do: %v", err)
	}
}

// Nobody answers that the hold is lost. The holder must know it by its own clock.
func TestLossIsToldWhenTheServerIsSilent(t *testing.T) {
	server, locks := start(t)
	const lease = time.Second
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_ = locks.Mutex(lockKey, lock.Lease(lease)).Do(ctx, func(working context.Context, _ *lock.Hold) error {
		server.Pause()
		defer server.Resume()
		if cause := redistest.Cause(t, working); !errors.Is(cause, lock.ErrNotHeld) {
			t.Errorf("the cause is %v", cause)
		}
		return nil
	})
}

// A holder that was stopped for longer than its lease goes on and writes. Another one has counted on meanwhile.
func TestStaleHolderOverwritesNothing(t *testing.T) {
	server, locks := start(t)
	data := server.Client()
	stale, err := locks.Mutex(lockKey, lock.Lease(300*time.Millisecond), lock.NoRenewal()).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "the lease ends", func() bool { return server.Info(lockKey) == nil })
	if output, err := program(t, server, "-n", "3", "-work", "1ms").Output(); err != nil || len(additions(t, string(output))) != 3 {
		t.Fatalf("%v\n%s", err, output)
	}
	if err := set(t.Context(), data, stale, counterKey, 1); !errors.Is(err, lock.ErrNotHeld) {
		t.Errorf("the stale write: %v", err)
	}
	if value, err := data.Get(t.Context(), counterKey).Int(); err != nil || value != 3 {
		t.Errorf("the counter is %d, %v", value, err)
	}
}

// The same, but it was stopped after the check, just before the write.
func TestHoldThatEndsBetweenCheckAndWriteWritesNothing(t *testing.T) {
	server, locks := start(t)
	mutex := locks.Mutex(lockKey, lock.Lease(time.Minute))
	hold, err := mutex.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer data.Close()
	data.AddHook(beforeTransaction(func() {
		if err := hold.Unlock(context.Background()); err != nil {
			t.Error(err)
		}
		if _, err := mutex.Lock(context.Background()); err != nil {
			t.Error(err)
		}
	}))
	if err := set(t.Context(), data, hold, counterKey, 1); !errors.Is(err, lock.ErrNotHeld) {
		t.Errorf("the write: %v", err)
	}
	if err := data.Get(t.Context(), counterKey).Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("something was written: %v", err)
	}
}

// beforeTransaction is a hook of go-redis that runs just before MULTI is sent.
type beforeTransaction func()

func (f beforeTransaction) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (f beforeTransaction) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (f beforeTransaction) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		if commands[0].Name() == "multi" {
			f()
		}
		return next(ctx, commands)
	}
}
