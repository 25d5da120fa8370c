package first

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/redis-lock/examples/go/internal/redistest"
	"github.com/redis/go-redis/v9"
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
	client := redis.NewClient(&redis.Options{Addr: server.Addr, ReadTimeout: time.Minute})
	defer client.Close()
	held := func() bool { return client.Exists(t.Context(), "door").Val() == 1 }
	failed := errors.New("no disk")
	var fences []int64
	for _, result := range []error{nil, failed, nil} {
		err := withLock(t.Context(), client, "door", func(fence int64) error {
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
	client := redis.NewClient(&redis.Options{Addr: server.Addr, ReadTimeout: time.Minute})
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := withLock(ctx, client, "door", func(int64) error {
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
