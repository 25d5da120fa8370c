package lockrueidis_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/clients/go/internal/redistest"
	lockrueidis "example.com/redis-lock/clients/go/rueidis"
	"github.com/redis/rueidis"
)

func open(t *testing.T, option rueidis.ClientOption) *lock.Client {
	t.Helper()
	c, err := lockrueidis.New(option)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func lockAndUnlock(t *testing.T, m *lock.Mutex) {
	t.Helper()
	h, err := m.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.TryLock(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Errorf("TryLock: %v", err)
	}
	if err := h.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestServerWithPasswordAndDatabase(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Do("CONFIG", "SET", "requirepass", "secret")
	c := open(t, rueidis.ClientOption{InitAddress: []string{server.Addr}, Password: "secret", SelectDB: 3})
	h, err := c.Mutex("door").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server.Do("AUTH", "secret")
	if keyspace, _ := server.Do("INFO", "keyspace").(string); !strings.Contains(keyspace, "db3:keys=1") {
		t.Errorf("the lock is not in database 3: %s", keyspace)
	}
	if err := h.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	wrong := open(t, rueidis.ClientOption{InitAddress: []string{server.Addr}, Password: "wrong", ForceSingleClient: true})
	if _, err := wrong.Mutex("door").Lock(t.Context()); !errors.Is(err, lock.ErrNoPermission) {
		t.Errorf("with the wrong password: %v", err)
	}
}

func TestSentinels(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinels(t)
	c := open(t, rueidis.ClientOption{
		InitAddress: s.Addrs, Sentinel: rueidis.SentinelOption{MasterSet: redistest.Service},
	})
	lockAndUnlock(t, c.Mutex("door"))
	h, err := c.Mutex("door", lock.Lease(time.Minute)).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Primary.Do("WAIT", 1, 5000)
	s.Primary.Pause()
	defer s.Primary.Resume()
	redistest.Until(t, "the new primary is asked", func() bool {
		_, err := h.Check(t.Context())
		return err == nil
	})
	if err := h.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	servers := redistest.StartCluster(t)
	c := open(t, rueidis.ClientOption{InitAddress: servers.Addrs()[:1]})
	for _, key := range []string{"a", "b", "c", "d"} {
		lockAndUnlock(t, c.Mutex(key))
	}
}

func TestQuorum(t *testing.T) {
	t.Parallel()
	var members []rueidis.ClientOption
	for range 3 {
		members = append(members, rueidis.ClientOption{InitAddress: []string{redistest.Start(t).Addr}})
	}
	q, err := lockrueidis.NewQuorum(members)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	lockAndUnlock(t, q.Mutex("door"))
}

func TestOptionWithoutAddress(t *testing.T) {
	t.Parallel()
	if _, err := lockrueidis.New(rueidis.ClientOption{}); !errors.Is(err, lock.ErrUsage) {
		t.Errorf("New: %v", err)
	}
}
