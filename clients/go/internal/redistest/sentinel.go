package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Service is the name under which the Sentinels know the primary.
const Service = "locks"

// Sentinels is a primary with a replica, and three Sentinels that promote it.
type Sentinels struct {
	Addrs            []string
	Primary, Replica *Server
}

// StartSentinels starts them. A primary that does not answer for a second is replaced.
func StartSentinels(t testing.TB) *Sentinels {
	t.Helper()
	s := &Sentinels{Primary: Start(t)}
	host, port, _ := net.SplitHostPort(s.Primary.Addr)
	s.Replica = Start(t, "--replicaof", host, port, "--repl-diskless-sync-delay", "0")
	Until(t, "the replica is connected", func() bool { return s.Replica.Number("replication", "master_sync_in_progress") == 0 })
	Until(t, "the primary knows the replica", func() bool { return s.Primary.Number("replication", "connected_slaves") == 1 })
	for range 3 {
		file := filepath.Join(t.TempDir(), "sentinel.conf")
		config := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\nsentinel down-after-milliseconds %[1]s 1000\n"+
			"sentinel failover-timeout %[1]s 6000\n", Service, host, port)
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		sentinel := start(t, []string{file, "--sentinel"})
		s.Addrs = append(s.Addrs, sentinel.Addr)
	}
	for _, addr := range s.Addrs {
		client := redis.NewSentinelClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { _ = client.Close() })
		Until(t, "the Sentinels know one another and the replica", func() bool {
			info, err := client.Master(context.Background(), Service).Result()
			return err == nil && info["num-other-sentinels"] == "2" && info["num-slaves"] == "1"
		})
	}
	return s
}
