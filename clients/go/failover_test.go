package lock_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/clients/go/internal/core"
	"example.com/redis-lock/clients/go/internal/redistest"
	"github.com/redis/go-redis/v9"
)

func sentinels(t testing.TB) (*redistest.Sentinels, *lock.Client) {
	t.Helper()
	s := redistest.StartSentinels(t)
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: redistest.Service, SentinelAddrs: s.Addrs})
	c, err := lock.New(rdb)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = rdb.Close()
	})
	return s, c
}

// A primary that dies breaks its connections; one that hangs keeps them, and TCP goes on answering.
func TestWaitLeavesAPrimaryThatFails(t *testing.T) {
	for name, fail := range map[string]func(*redistest.Server){
		"dies":  func(s *redistest.Server) { s.Kill() },
		"hangs": func(s *redistest.Server) { s.Pause() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := sentinels(t)
			holder := locked(t, c.Mutex(key, lock.Lease(long)))
			kept := locked(t, c.Mutex("kept", lock.Lease(20*time.Second)))
			waits := waiting(t, s.Primary, c.Mutex(key), within(t, 90*time.Second))
			s.Primary.Do("WAIT", 1, 5000)
			fail(s.Primary)
			defer s.Primary.Resume()
			redistest.Until(t, "the replica is promoted", func() bool {
				role, _ := s.Replica.Do("ROLE").([]any)
				return role[0] == "master"
			})
			promoted := time.Now()
			redistest.Until(t, "it waits at the new primary", func() bool { return s.Replica.Waiters(key) == 1 })
			if took := time.Since(promoted); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			unlock(t, holder)
			unlock(t, (<-waits).must(t))
			if _, err := kept.Check(t.Context()); err != nil || !kept.Held() {
				t.Errorf("the hold that was replicated: %v", err)
			}
		})
	}
}

func cluster(t testing.TB) (*redistest.Cluster, *lock.Client) {
	t.Helper()
	servers := redistest.StartCluster(t)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: servers.Addrs()[:2], ReadOnly: true})
	c, err := lock.New(rdb)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = rdb.Close()
	})
	return servers, c
}

// keyOf is a key whose slot is in that third of the slots.
func keyOf(third int) string {
	for i := 0; ; i++ {
		if key := fmt.Sprint("key-", i); core.Slot(key)*3/core.Slots == third {
			return key
		}
	}
}

func TestClusterWaitLeavesAPrimaryThatHangs(t *testing.T) {
	t.Parallel()
	servers, c := cluster(t)
	name := keyOf(1)
	holder := locked(t, c.Mutex(name, lock.Lease(long)))
	granted := make(chan result, 1)
	go func() {
		h, err := c.Mutex(name).Lock(within(t, 90*time.Second))
		granted <- result{h, err}
	}()
	redistest.Until(t, "it waits", func() bool { return servers.Primaries[1].Waiters(name) == 1 })
	servers.Primaries[1].Do("WAIT", 1, 5000)
	servers.Primaries[1].Pause()
	defer servers.Primaries[1].Resume()
	redistest.Until(t, "the replica is promoted", func() bool {
		role, _ := servers.Replicas[1].Do("ROLE").([]any)
		return role[0] == "master"
	})
	promoted := time.Now()
	redistest.Until(t, "it waits at the new primary", func() bool { return servers.Replicas[1].Waiters(name) == 1 })
	if took := time.Since(promoted); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	unlock(t, holder)
	unlock(t, (<-granted).must(t))
}

// C7: the wait of a slot that moved ended with TRYAGAIN.
func TestClusterSlotThatMovesEndsNoWaitAndNoHold(t *testing.T) {
	t.Parallel()
	servers, c := cluster(t)
	name := keyOf(0)
	h := locked(t, c.Mutex(name, lock.Lease(3*time.Second)))
	granted := make(chan result, 1)
	go func() {
		h, err := c.Mutex(name).Lock(within(t, redistest.Patience))
		granted <- result{h, err}
	}()
	redistest.Until(t, "it waits", func() bool { return servers.Primaries[0].Waiters(name) == 1 })
	servers.Move(t, core.Slot(name), servers.Primaries[0], servers.Primaries[2], name)
	redistest.Until(t, "it waits at the other node", func() bool { return servers.Primaries[2].Waiters(name) == 1 })
	if _, err := h.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
	unlock(t, h)
	unlock(t, (<-granted).must(t))
}

func TestClusterColdKeysAskForTheMapOnce(t *testing.T) {
	t.Parallel()
	servers, c := cluster(t)
	for i := range 500 {
		unlock(t, locked(t, c.Mutex(fmt.Sprint("cold-", i))))
	}
	if opened := c.ConnectionsOpened(); opened > 4 {
		t.Errorf("%d connections were opened", opened)
	}
	_, err := c.Multi([]string{keyOf(0), keyOf(1)}).Lock(t.Context())
	if err == nil {
		t.Error("keys of two slots were locked together")
	}
	for _, replica := range servers.Replicas {
		stats, _ := replica.Do("INFO", "commandstats").(string)
		if strings.Contains(stats, "cmdstat_lock.check") {
			t.Errorf("a replica was asked:\n%s", stats)
		}
	}
}
