package lock

import (
	"context"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
	"example.com/redis-lock/clients/go/internal/nodes"
	"example.com/redis-lock/clients/go/internal/wire"
)

// batchMax is how many holds are renewed by commands that are sent at once, so that a server has time for others between.
const batchMax = 500

// job is what is done for several holds at a time.
type job struct {
	renews   bool
	commands func(h *Hold) []core.Command
	// take reads the replies for a hold; false if it has to be tried again.
	take func(h *Hold, sent time.Duration, version int, replies []any) bool
}

func (c *Client) renewAll(holds []*Hold) {
	c.doAll(holds, job{
		renews:   true,
		commands: func(h *Hold) []core.Command { return []core.Command{h.request.Extend(h.Fence(), h.lease())} },
		take:     c.takeExtension,
	})
}

func (c *Client) checkAll(holds []*Hold) {
	c.doAll(holds, job{commands: func(h *Hold) []core.Command { return h.request.Checks() }, take: c.takeCheck})
}

func (c *Client) doAll(holds []*Hold, j job) {
	byNode := map[*nodes.Node][]*Hold{}
	for _, h := range holds {
		ctx, cancel := context.WithTimeout(c.closing, 3*c.options.requestTimeout)
		node, err := c.router.Node(ctx, h.slot)
		cancel()
		if err != nil {
			c.keeper.done(h, j.renews, false)
			continue
		}
		byNode[node] = append(byNode[node], h)
	}
	for node, holds := range byNode {
		for len(holds) > 0 {
			some := holds[:min(len(holds), batchMax)]
			holds = holds[len(some):]
			go c.doAt(node, some, j)
		}
	}
}

// doAt asks one server. However long that takes, nothing is asked twice, and holds that end meanwhile are told by the
// keeper.
func (c *Client) doAt(node *nodes.Node, holds []*Hold, j job) {
	fail := func() {
		for _, h := range holds {
			c.keeper.done(h, j.renews, false)
		}
	}
	ctx, cancel := context.WithTimeout(c.closing, 3*c.options.requestTimeout)
	conn, err := node.Shared(ctx)
	cancel()
	if err != nil {
		c.router.Doubt(node)
		fail()
		return
	}
	tracked := node.Tracks(conn)
	var commands []core.Command
	counts := make([]int, len(holds))
	versions := make([]int, len(holds))
	for i, h := range holds {
		own := j.commands(h)
		commands, counts[i] = append(commands, own...), len(own)
		h.mu.Lock()
		versions[i] = h.version
		h.mu.Unlock()
	}
	sent := c.now()
	call := conn.Post(commands...)
	_ = c.await(c.closing, node, conn, holds[0].slot, call)
	if c.closing.Err() != nil {
		return
	}
	replies, err := call.Replies()
	if err != nil {
		c.router.Doubt(node)
		fail()
		return
	}
	for i, h := range holds {
		own := replies[:counts[i]]
		replies = replies[counts[i]:]
		if !j.renews && tracked {
			c.keeper.watchedBy(h, conn)
		}
		ok := j.take(h, sent, versions[i], own)
		if !ok {
			c.follow(node, own)
		}
		c.keeper.done(h, j.renews, ok)
	}
}

// follow does what a refusal asks for.
func (c *Client) follow(node *nodes.Node, replies []any) {
	for _, reply := range replies {
		if refusal, ok := reply.(*core.Refusal); ok && refusal.Class() == core.Passing {
			c.redirect(node, refusal)
		}
	}
}

func (c *Client) takeExtension(h *Hold, sent time.Duration, _ int, replies []any) bool {
	if refusal, ok := replies[0].(*core.Refusal); ok {
		switch {
		case refusal.Code() == "ASK":
			// The slot is on its way. Extend asks where it goes.
			ctx, cancel := context.WithTimeout(c.closing, 3*c.options.requestTimeout)
			defer cancel()
			return c.extend(ctx, h, h.lease()) == nil
		case refusal.Class() == core.NoPermission:
			h.mu.Lock()
			h.denied = true
			h.mu.Unlock()
		}
		c.options.logger.Warn("a lock could not be renewed", "lock", h.request.Name(), "owner", h.Owner(), "error", refusal)
		return false
	}
	count, err := core.Count(replies[0])
	if err != nil {
		c.options.logger.Warn("a lock could not be renewed", "lock", h.request.Name(), "owner", h.Owner(), "error", err)
		return false
	}
	if count < int64(len(h.request.Keys)) {
		c.lose(h, LostGone)
		return true
	}
	h.extended(sent, h.lease())
	c.options.tell(func(hooks Hooks) {
		if hooks.Renewed != nil {
			hooks.Renewed(h.request.Name(), h.Owner())
		}
	})
	return true
}

func (c *Client) takeCheck(h *Hold, sent time.Duration, version int, replies []any) bool {
	left := core.LeaseMax
	for i, reply := range replies {
		if refusal, ok := reply.(*core.Refusal); ok {
			// Without the right to CHECK there is no watching. Renewal notices a loss.
			return refusal.Class() == core.NoPermission
		}
		check, held, err := core.ReadCheck(reply)
		if err != nil {
			return true
		}
		if !held || check.Fence != h.fences[i] {
			c.lose(h, LostGone)
			return true
		}
		left = min(left, check.TTL)
	}
	h.checked(sent, left, version)
	return true
}

// watchedBy notes over which connection the server tells of changes.
func (k *keeper) watchedBy(h *Hold, conn *wire.Conn) {
	k.mu.Lock()
	h.watched = conn
	k.mu.Unlock()
	if conn.IsClosed() {
		k.unwatched(conn)
	}
}
