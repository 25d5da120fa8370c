package redistest

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Cluster is a Redis Cluster of three primaries, each with a replica.
type Cluster struct {
	// Primaries have a third of the slots each, in this order.
	Primaries, Replicas []*Server
}

// StartCluster starts it. A primary that does not answer for two seconds is replaced.
func StartCluster(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{}
	for i := range 6 {
		server := Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", freePort(t),
			"--repl-diskless-sync-delay", "0", "--cluster-config-file", "nodes.conf")
		if i < 3 {
			c.Primaries = append(c.Primaries, server)
		} else {
			c.Replicas = append(c.Replicas, server)
		}
	}
	slots := []string{"0", "5461", "10923", "16384"}
	for i, primary := range c.Primaries {
		last, _ := strconv.Atoi(slots[i+1])
		primary.Do("CLUSTER", "ADDSLOTSRANGE", slots[i], last-1)
		primary.Do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
	}
	for _, server := range c.all()[1:] {
		host, port, _ := net.SplitHostPort(server.Addr)
		bus := server.args[indexOf(server.args, "--cluster-port")+1]
		c.Primaries[0].Do("CLUSTER", "MEET", host, port, bus)
	}
	Until(t, "all know one another", func() bool {
		for _, server := range c.all() {
			nodes, _ := server.Do("CLUSTER", "NODES").(string)
			if strings.Count(nodes, "connected") != 6 || strings.Contains(nodes, "handshake") {
				return false
			}
		}
		return true
	})
	for i, replica := range c.Replicas {
		replica.Do("CLUSTER", "REPLICATE", c.Primaries[i].Do("CLUSTER", "MYID"))
	}
	Until(t, "the cluster works", func() bool {
		for i, primary := range c.Primaries {
			info, _ := primary.Do("CLUSTER", "INFO").(string)
			if !strings.Contains(info, "cluster_state:ok") || primary.Number("replication", "connected_slaves") != 1 ||
				c.Replicas[i].Number("replication", "master_sync_in_progress") != 0 {
				return false
			}
			slots, _ := c.Replicas[i].Do("CLUSTER", "SLOTS").([]any)
			if len(slots) != 3 {
				return false
			}
		}
		return true
	})
	return c
}

func (c *Cluster) all() []*Server {
	return append(append([]*Server(nil), c.Primaries...), c.Replicas...)
}

// Addrs are the addresses of all nodes.
func (c *Cluster) Addrs() []string {
	var addrs []string
	for _, server := range c.all() {
		addrs = append(addrs, server.Addr)
	}
	return addrs
}

// Move moves a slot that has the given keys from one primary to another, step by step as redis-cli does.
func (c *Cluster) Move(t testing.TB, slot int, from, to *Server, keys ...string) {
	t.Helper()
	fromID, toID := from.Do("CLUSTER", "MYID"), to.Do("CLUSTER", "MYID")
	to.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	from.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	host, port, _ := net.SplitHostPort(to.Addr)
	for _, key := range keys {
		from.Do("MIGRATE", host, port, key, 0, 5000)
	}
	// A client may ask meanwhile, and get ASK or TRYAGAIN.
	time.Sleep(300 * time.Millisecond)
	for _, server := range []*Server{to, from} {
		server.Do("CLUSTER", "SETSLOT", slot, "NODE", toID)
	}
	for _, server := range c.Primaries {
		_ = server.client.Do(context.Background(), "CLUSTER", "SETSLOT", slot, "NODE", toID).Err()
	}
}

func indexOf(args []string, name string) int {
	for i, arg := range args {
		if arg == name {
			return i
		}
	}
	return -1
}

func freePort(t testing.TB) string {
	t.Helper()
	_, port, _ := net.SplitHostPort(FreeAddr(t))
	return port
}
