package locktest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/clients/go/locktest"
)

func TestAdvanceEndsLeases(t *testing.T) {
	t.Parallel()
	server := locktest.New()
	defer server.Close()
	m := server.Client().Mutex("door", lock.Lease(time.Hour), lock.NoRenewal())
	h, err := m.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server.Advance(59 * time.Minute)
	if !h.Held() || h.Context().Err() != nil {
		t.Error("it ended too early")
	}
	server.Advance(2 * time.Minute)
	if h.Held() || h.Context().Err() == nil {
		t.Error("it did not end")
	}
	if holders := server.Holders("door"); len(holders) != 0 {
		t.Errorf("%v hold it", holders)
	}
	if _, err := m.TryLock(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFailAndDisconnect(t *testing.T) {
	t.Parallel()
	server := locktest.New()
	defer server.Close()
	c := server.Client()
	server.Fail("NOPERM this user may not")
	if _, err := c.Mutex("door").Lock(t.Context()); !errors.Is(err, lock.ErrNoPermission) {
		t.Errorf("Lock: %v", err)
	}
	server.Fail("READONLY not now")
	granted := make(chan error, 1)
	go func() {
		_, err := c.Mutex("door").Lock(t.Context())
		granted <- err
	}()
	time.Sleep(50 * time.Millisecond)
	server.Fail("")
	if err := <-granted; err != nil {
		t.Errorf("Lock: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := c.Mutex("door").Lock(ctx)
		granted <- err
	}()
	for server.Waiters("door") == 0 {
		time.Sleep(time.Millisecond)
	}
	server.Disconnect()
	for server.Waiters("door") == 0 { // It waits again.
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-granted; !errors.Is(err, context.Canceled) {
		t.Errorf("Lock: %v", err)
	}
}

func TestQuorumInMemory(t *testing.T) {
	t.Parallel()
	var members []lock.Deployment
	for range 3 {
		server := locktest.New()
		defer server.Close()
		members = append(members, server.Deployment())
	}
	q, err := lock.OpenQuorum(members)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	h, err := q.Mutex("door").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
}
