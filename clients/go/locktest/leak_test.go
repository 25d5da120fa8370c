package locktest_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/clients/go/locktest"
)

// A client that is closed leaves no goroutine behind. It runs alone, because it counts all of the process.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	server := locktest.New()
	c := server.Client()
	held, err := c.Mutex("door").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := c.Leader("door").Observe(t.Context())
	<-seen
	ctx, cancel := context.WithCancel(t.Context())
	for range 10 {
		go func() { _, _ = c.Mutex("door", lock.Session()).Lock(ctx) }()
	}
	for server.Waiters("door") < 10 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	go func() { _, _ = c.Mutex("door").Lock(context.Background()) }()
	for server.Waiters("door") != 1 {
		time.Sleep(time.Millisecond)
	}
	server.Close()
	<-held.Context().Done()
	for range seen {
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
