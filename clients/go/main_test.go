package lock_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/clients/go/internal/redistest"
	"github.com/redis/go-redis/v9"
)

const (
	key  = "door"
	long = 5 * time.Minute
)

func connect(t testing.TB, addr string, options ...lock.ClientOption) *lock.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	c, err := lock.New(rdb, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = rdb.Close()
	})
	return c
}

func start(t testing.TB, options ...lock.ClientOption) (*redistest.Server, *lock.Client) {
	t.Helper()
	server := redistest.Start(t)
	return server, connect(t, server.Addr, options...)
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func locked(t testing.TB, m *lock.Mutex) *lock.Hold {
	t.Helper()
	h, err := m.Lock(within(t, redistest.Patience))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func unlock(t testing.TB, h *lock.Hold) {
	t.Helper()
	if err := h.Unlock(context.Background()); err != nil {
		t.Errorf("Unlock: %v", err)
	}
}

func isErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

// waiting starts to wait for a lock and returns when the server sees it.
func waiting(t testing.TB, server *redistest.Server, m *lock.Mutex, ctx context.Context) <-chan result {
	t.Helper()
	before := server.Waiters(key)
	results := make(chan result, 1)
	go func() {
		h, err := m.Lock(ctx)
		results <- result{h, err}
	}()
	redistest.Until(t, "it waits", func() bool { return server.Waiters(key) == before+1 })
	return results
}

type result struct {
	hold *lock.Hold
	err  error
}

func (r result) must(t testing.TB) *lock.Hold {
	t.Helper()
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.hold
}

func ownerPrefix(t testing.TB, label string) string {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s/%s/%d/", label, host, os.Getpid())
}
