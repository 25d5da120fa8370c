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

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/examples/go/internal/redistest"
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

func start(t *testing.T) (*redistest.Server, *lock.Client) {
	t.Parallel()
	server := redistest.Start(t)
	return server, server.Locks()
}

// countTogether is one of many processes whose goroutines add to the number in a file, which only the mutex protects.
func countTogether() error {
	locks, err := lock.New(redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS_ADDR")}))
	if err != nil {
		return err
	}
	defer locks.Close()
	mutex := locks.Mutex(key, lock.Lease(lease))
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

func countOnce(mutex *lock.Mutex) error {
	return mutex.Do(context.Background(), func(_ context.Context, hold *lock.Hold) error {
		history := redistest.History(os.Getenv(historyEnv))
		if err := history.Enter(hold.Fence()); err != nil {
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
		return history.Leave(hold.Fence())
	})
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
	mutex := locks.Mutex(key, lock.Lease(lease))
	count := 0
	var counting sync.WaitGroup
	for range 10 {
		counting.Go(func() {
			for range 10 {
				hold, err := mutex.Lock(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				count++
				if err := hold.Unlock(t.Context()); err != nil {
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
	server, locks := start(t)
	mine, err := locks.Mutex(key, lock.Lease(lease)).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	released, err := server.Client().Do(t.Context(), "LOCK.RELEASE", key, "other").Int()
	if err != nil || released != 0 {
		t.Errorf("the other's RELEASE: %d, %v", released, err)
	}
	if err := mine.Unlock(t.Context()); err != nil {
		t.Errorf("my Unlock: %v", err)
	}
}

func TestUnlockAfterTheLeaseSaysSoAndDoesNotFreeTheNextHolder(t *testing.T) {
	_, locks := start(t)
	late, err := locks.Mutex(key, lock.Lease(300*time.Millisecond), lock.NoRenewal()).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next, err := locks.Mutex(key, lock.Lease(lease)).Lock(t.Context()) // Waits for the end of the lease.
	if err != nil {
		t.Fatal(err)
	}
	redistest.Rising(t, []int64{late.Fence(), next.Fence()})
	if err := late.Unlock(t.Context()); !errors.Is(err, lock.ErrNotHeld) {
		t.Errorf("the late one's Unlock: %v", err)
	}
	if err := next.Unlock(t.Context()); err != nil {
		t.Errorf("the next one's Unlock: %v", err)
	}
}

// The weakness of sync.Mutex beside SetNX: after an error the local one stays locked.
func TestFailedLockLocksNothing(t *testing.T) {
	server, _ := start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer client.Close()
	shared, err := lock.New(client, lock.WithSharedWaits())
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	mine := shared.Mutex(key, lock.Lease(lease))
	other, err := server.Locks().Mutex(key, lock.Lease(lease)).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error)
	for range 2 { // One waits on the server, one here.
		go func() {
			_, err := mine.Lock(ctx)
			results <- err
		}()
	}
	redistest.Until(t, "one waits", func() bool { return server.Waiters(key) == 1 })
	cancel()
	for range 2 {
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("Lock: %v", err)
		}
	}
	redistest.Until(t, "nobody waits", func() bool { return server.Waiters(key) == 0 })
	if err := other.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := mine.Lock(t.Context()); err != nil {
		t.Errorf("Lock afterwards: %v", err)
	}
}

func TestUnlockTellsThatTheServerIsGone(t *testing.T) {
	server, locks := start(t)
	mutex := locks.Mutex(key, lock.Lease(lease))
	hold, err := mutex.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if err := hold.Unlock(t.Context()); err == nil || errors.Is(err, lock.ErrNotHeld) {
		t.Errorf("Unlock: %v", err)
	}
	server.Restart()
	if _, err := mutex.Lock(t.Context()); err != nil {
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
