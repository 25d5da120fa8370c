package nodes

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"

	"example.com/redis-lock/clients/go/internal/core"
	"example.com/redis-lock/clients/go/internal/wire"
)

// Cluster is a router for a Redis Cluster.
type Cluster struct {
	settings *Settings
	opened   Opened
	pacer    pacer

	mu       sync.Mutex
	nodes    map[string]*Node
	seeds    []string
	owners   [core.Slots]*Node
	known    bool
	doubtful bool
	doubted  map[string]bool
	failure  error
	closed   error
}

// NewCluster makes a router for the cluster to which some of these addresses belong.
func NewCluster(settings *Settings, seeds []string) *Cluster {
	return &Cluster{settings: settings, seeds: slices.Clone(seeds), nodes: map[string]*Node{}, doubted: map[string]bool{}}
}

var errNoOwner = errors.New("no known node of the cluster serves this slot")

// Node is the primary of the slot.
func (c *Cluster) Node(ctx context.Context, slot int) (*Node, error) {
	c.mu.Lock()
	ask := !c.known || c.doubtful
	c.mu.Unlock()
	if ask {
		c.pacer.once(ctx, c.refresh)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		return nil, &wire.LostError{Addr: "the cluster", Err: c.closed}
	}
	n := c.owners[max(slot, 0)]
	if n == nil {
		c.doubtful = true
		return nil, &wire.LostError{Addr: "the cluster", Err: cmp.Or(c.failure, errNoOwner)}
	}
	return n, nil
}

// At is the node at an address.
func (c *Cluster) At(addr string) *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at(addr)
}

func (c *Cluster) at(addr string) *Node {
	n := c.nodes[addr]
	if n == nil {
		n = newNode(addr, c.settings, &c.opened)
		n.gone = c.closed != nil
		c.nodes[addr] = n
	}
	return n
}

// Doubt lets the next one who needs a node ask for the map.
func (c *Cluster) Doubt(n *Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doubtful = true
	c.doubted[n.Addr] = true
}

// Elsewhere asks the other nodes for the map.
func (c *Cluster) Elsewhere(ctx context.Context, n *Node, slot int) bool {
	c.Doubt(n)
	c.pacer.once(ctx, c.refresh)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owners[max(slot, 0)] != n
}

// Moved notes what a server said, and asks for the map: other slots may have moved too.
func (c *Cluster) Moved(slot int, n *Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owners[slot] = n
	c.doubtful = true
}

// Primaries are the nodes that serve slots.
func (c *Cluster) Primaries(ctx context.Context) ([]*Node, error) {
	if _, err := c.Node(ctx, AnySlot); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var primaries []*Node
	seen := map[*Node]bool{nil: true}
	for _, n := range c.owners {
		if !seen[n] {
			seen[n] = true
			primaries = append(primaries, n)
		}
	}
	return primaries, nil
}

// Opened is how many connections were opened.
func (c *Cluster) Opened() int64 { return c.opened.Load() }

// Close closes all nodes.
func (c *Cluster) Close(reason error) {
	c.mu.Lock()
	c.closed = reason
	nodes := c.nodes
	c.nodes = map[string]*Node{}
	c.mu.Unlock()
	for _, n := range nodes {
		n.Close(reason)
	}
}

// refresh asks one node after the other for the map, those in doubt last.
func (c *Cluster) refresh(ctx context.Context) {
	c.mu.Lock()
	if c.closed != nil {
		c.mu.Unlock()
		return
	}
	var addrs []string
	for addr := range c.nodes {
		addrs = append(addrs, addr)
	}
	for _, seed := range c.seeds {
		if c.nodes[seed] == nil {
			addrs = append(addrs, seed)
		}
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	rank := func(addr string) int {
		if c.doubted[addr] {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(addrs, func(a, b string) int { return rank(a) - rank(b) })
	c.mu.Unlock()

	for _, addr := range addrs {
		reply, err := c.askForMap(ctx, c.At(addr))
		if err == nil && c.learn(reply, addr) {
			return
		}
		c.mu.Lock()
		c.doubted[addr] = true
		if err != nil {
			c.failure = err
		}
		c.mu.Unlock()
	}
}

func (c *Cluster) askForMap(ctx context.Context, n *Node) (any, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.settings.RequestTimeout, &wire.LostError{Addr: n.Addr, Err: errSilent})
	defer cancel()
	conn, err := n.Shared(ctx)
	if err != nil {
		return nil, err
	}
	call := conn.Post(core.Command{"CLUSTER", "SLOTS"})
	if _, err := call.Wait(ctx); err != nil {
		return nil, err
	}
	return call.Last()
}

// learn takes the reply of CLUSTER SLOTS; false if there is nothing in it.
func (c *Cluster) learn(reply any, asked string) bool {
	ranges, _ := reply.([]any)
	if len(ranges) == 0 {
		return false
	}
	c.mu.Lock()
	var owners [core.Slots]*Node
	present := map[string]bool{}
	for _, one := range ranges {
		parts, _ := one.([]any)
		if len(parts) < 3 {
			continue
		}
		first, _ := parts[0].(int64)
		last, _ := parts[1].(int64)
		for i, part := range parts[2:] {
			addr := address(part, asked)
			if addr == "" {
				continue
			}
			present[addr] = true
			for slot := max(first, 0); i == 0 && slot <= last && slot < core.Slots; slot++ {
				owners[slot] = c.at(addr)
			}
		}
	}
	c.owners = owners
	c.known, c.doubtful, c.failure = true, false, nil
	c.doubted = map[string]bool{}
	for addr := range present {
		if !slices.Contains(c.seeds, addr) {
			c.seeds = append(c.seeds, addr)
		}
	}
	var gone []*Node
	for addr, n := range c.nodes {
		// The node that was asked stays: it may be known to us by another address than to the others.
		if !present[addr] && addr != asked {
			delete(c.nodes, addr)
			gone = append(gone, n)
		}
	}
	c.mu.Unlock()
	for _, n := range gone {
		n.Close(errMoved)
	}
	return true
}

// address is the address of a node in CLUSTER SLOTS. A node that does not know its own host is where it was asked.
func address(node any, asked string) string {
	parts, _ := node.([]any)
	if len(parts) < 2 {
		return ""
	}
	host, _ := parts[0].(string)
	port, _ := parts[1].(int64)
	if host == "" || host == "?" {
		host, _, _ = net.SplitHostPort(asked)
	}
	return net.JoinHostPort(host, strconv.FormatInt(port, 10))
}
