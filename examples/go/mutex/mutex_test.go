package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
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

// Of each process in TestGoroutinesAndProcessesGoInOneByOne.
const goroutines, visits = 4, 10

// A process is started as the program, or with these set as one of those that count together.
const historyEnv, countEnv = "MUTEX_TEST_HISTORY", "MUTEX_TEST_COUNT"

func TestMain(m *testing.M) {
	redistest.Main(m, func() {
		if os.Getenv(historyEnv) != "" {
			if err := countTogether(); err != nil {
				panic(err)
			}
			return
		}
		main()
	})
}

func connect(addr string) *redislock.Client {
	return redislock.New(&redis.UniversalOptions{Addrs: []string{addr}})
}

func start(t *testing.T) (*redistest.Server, *redislock.Client) {
	t.Parallel()
	server := redistest.Start(t)
	locks := connect(server.Addr)
	t.Cleanup(func() { _ = locks.Close() })
	return server, locks
}

// countTogether is one of many processes whose goroutines add to the number in a file, which only the mutex protects.
func countTogether() error {
	locks := connect(os.Getenv("REDIS_ADDR"))
	defer locks.Close()
	mutex := NewMutex(locks, key, lease)
	errs := make(chan error, goroutines*visits)
	var counting sync.WaitGroup
	for range goroutines {
		counting.Go(func() {
			for range visits {
				errs <- countOnce(mutex)
			}
		})
	}
	counting.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

func countOnce(mutex *Mutex) (err error) {
	if err := mutex.Lock(context.Background()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mutex.Unlock()) }()
	history := redistest.History(os.Getenv(historyEnv))
	if err := history.Enter(mutex.Fence()); err != nil {
		return err
	}
	number, err := os.ReadFile(os.Getenv(countEnv))
	if err != nil {
		return err
	}
	value, err := strconv.Atoi(string(number))
	if err != nil {
		return err
	}
	time.Sleep(time.Millisecond) // Time for others to do harm.
	if err := os.WriteFile(os.Getenv(countEnv), []byte(strconv.Itoa(value+1)), 0o600); err != nil {
		return err
	}
	return history.Leave(mutex.Fence())
}

func TestGoroutinesAndProcessesGoInOneByOne(t *testing.T) {
	server, _ := start(t)
	dir := t.TempDir()
	history, count := filepath.Join(dir, "history"), filepath.Join(dir, "count")
	if err := os.WriteFile(count, []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	const processes = 4
	var running sync.WaitGroup
	for range processes {
		program := redistest.Program(t, []string{"REDIS_ADDR=" + server.Addr, historyEnv + "=" + history, countEnv + "=" + count})
		running.Go(func() {
			if err := program.Run(); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	redistest.History(history).Judge(t, processes*goroutines*visits)
	if number, _ := os.ReadFile(count); string(number) != strconv.Itoa(processes*goroutines*visits) {
		t.Errorf("the count is %s", number)
	}
}

// The memory that goroutines share is safe under it too. The race detector watches.
func TestGoroutinesSeeWhatTheOneBeforeWrote(t *testing.T) {
	_, locks := start(t)
	mutex := NewMutex(locks, key, lease)
	count := 0
	var counting sync.WaitGroup
	for range 10 {
		counting.Go(func() {
			for range 10 {
				if err := mutex.Lock(t.Context()); err != nil {
					t.Error(err)
					return
				}
				count++
				if err := mutex.Unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	counting.Wait()
	if count != 100 {
		t.Errorf("the count is %d", count)
	}
}

func TestOtherProcessesCannotUnlock(t *testing.T) {
	_, locks := start(t)
	mine, other := NewMutex(locks, key, lease), NewMutex(locks, key, lease)
	if err := mine.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.Unlock(); !errors.Is(err, redislock.ErrNotHeld) {
		t.Errorf("the other's Unlock: %v", err)
	}
	if err := mine.Unlock(); err != nil {
		t.Errorf("my Unlock: %v", err)
	}
}

func TestUnlockAfterTheLeaseSaysSoAndDoesNotFreeTheNextHolder(t *testing.T) {
	_, locks := start(t)
	late, next := NewMutex(locks, key, time.Millisecond), NewMutex(locks, key, lease)
	if err := late.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := next.Lock(t.Context()); err != nil { // Waits for the end of the lease.
		t.Fatal(err)
	}
	redistest.Rising(t, []int64{late.Fence(), next.Fence()})
	if err := late.Unlock(); !errors.Is(err, redislock.ErrNotHeld) {
		t.Errorf("the late one's Unlock: %v", err)
	}
	if err := next.Unlock(); err != nil {
		t.Errorf("the next one's Unlock: %v", err)
	}
}

// The weakness of sync.Mutex beside SetNX: after an error the local one stays locked.
func TestFailedLockLocksNothing(t *testing.T) {
	server, locks := start(t)
	mine, other := NewMutex(locks, key, lease), NewMutex(locks, key, lease)
	if err := other.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error)
	for range 2 { // One waits on the server, one here.
		go func() { results <- mine.Lock(ctx) }()
	}
	redistest.Until(t, "one waits", func() bool { return server.Waiters(key) == 1 })
	cancel()
	for range 2 {
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("Lock: %v", err)
		}
	}
	if waiters := server.Waiters(key); waiters != 0 {
		t.Errorf("%d still wait", waiters)
	}
	if err := other.Unlock(); err != nil {
		t.Fatal(err)
	}
	if err := mine.Lock(t.Context()); err != nil {
		t.Errorf("Lock afterwards: %v", err)
	}
}

func TestUnlockTellsThatTheServerIsGone(t *testing.T) {
	server, locks := start(t)
	mutex := NewMutex(locks, key, lease)
	if err := mutex.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if err := mutex.Unlock(); err == nil || errors.Is(err, redislock.ErrNotHeld) {
		t.Errorf("Unlock: %v", err)
	}
	server.Restart()
	if err := mutex.Lock(t.Context()); err != nil {
		t.Errorf("Lock afterwards: %v", err)
	}
}

func TestProgram(t *testing.T) {
	server, _ := start(t)
	output, err := redistest.Program(t, []string{"REDIS_ADDR=" + server.Addr}).Output()
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	if err != nil || len(lines) != 10 {
		t.Fatalf("%v\n%s", err, output)
	}
	for i, line := range lines {
		if want := []string{": in", ": out"}[i%2]; !strings.Contains(line, want) {
			t.Errorf("line %d is not %q:\n%s", i+1, want, output)
		}
	}
}
