package first

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/examples/go/internal/redistest"
)

func TestReadmeShowsThisFunction(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("first.go")
	if err != nil {
		t.Fatal(err)
	}
	_, function, found := strings.Cut(string(source), "\nfunc ")
	if !found || !strings.Contains(string(readme), "func "+function) {
		t.Fatalf("README.md does not show\nfunc %s", function)
	}
}

func TestLockIsHeldDuringTheWriteAndFreeAfterIt(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client, locks := server.Client(), server.Locks()
	held := func() bool { return client.Exists(t.Context(), "door").Val() == 1 }
	failed := errors.New("no disk")
	var fences []int64
	for _, result := range []error{nil, failed, nil} {
		err := withLock(t.Context(), locks, "door", func(_ context.Context, fence int64) error {
			if !held() {
				t.Error("the lock is free during the write")
			}
			fences = append(fences, fence)
			return result
		})
		if !errors.Is(err, result) {
			t.Errorf("got %v, want %v", err, result)
		}
		if held() {
			t.Error("the lock is held after the write")
		}
	}
	if fences[0] >= fences[1] || fences[1] >= fences[2] {
		t.Errorf("fences do not rise: %v", fences)
	}
}

func TestLockIsReleasedAlthoughTheContextWasCancelled(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client, locks := server.Client(), server.Locks()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := withLock(ctx, locks, "door", func(context.Context, int64) error {
		cancel()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if client.Exists(t.Context(), "door").Val() != 0 {
		t.Error("the lock is held after the write")
	}
}

func TestOthersHoldTheLock(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	locks := server.Locks()
	if _, err := locks.Mutex("door").Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := withLock(ctx, locks, "door", func(context.Context, int64) error { return errors.New("it is in") })
	if !errors.Is(err, lock.ErrNotAcquired) {
		t.Errorf("got %v, want %v", err, lock.ErrNotAcquired)
	}
}
