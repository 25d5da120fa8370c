package lock

import (
	"context"
	"errors"
	"iter"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
	"example.com/redis-lock/clients/go/internal/nodes"
)

// Info is who holds a lock and who waits for it.
type Info struct {
	// Mode is exclusive, shared, cooling or free. A free lock can have waiters.
	Mode string
	// HoldersCount is how many hold it. Holders has the first 100, by fence.
	HoldersCount int
	Holders      []Holder
	// Waiters is how many wait. Queue has the first 10.
	Waiters int
	Queue   []Waiter
	// Cooling is how long the lock still cools, or 0.
	Cooling time.Duration
}

// Holder is a holder of a lock.
type Holder struct {
	Owner string
	Fence int64
	// ExpiresIn is what is left of the lease, Held the time since the grant.
	ExpiresIn, Held time.Duration
	// Limit is that of a semaphore, or 0. Weight is how many units it takes.
	Limit, Weight int
	// Session is the client id to which the hold is bound, or 0.
	Session int64
	// Max is how long it is until its Max ends it, or 0.
	Max time.Duration
}

// Waiter is a client in the queue of a lock.
type Waiter struct {
	Owner, Mode string
	Waited      time.Duration
	// Client is its id as CLIENT LIST shows it.
	Client int64
}

// Entry is a lock as LOCK.LIST and LOCK.TOP show it.
type Entry struct {
	Key, Mode string
	// Owner is the holder with the smallest fence, or the owner that was asked for.
	Owner           string
	HoldersCount    int
	Fence           int64
	ExpiresIn, Held time.Duration
	Waiters         int
	// Waited is how long the first in the queue has waited; Queue has the first 3. Only Top sets them.
	Waited time.Duration
	Queue  []Waiter
}

// Info asks who holds a lock and who waits for it. It is nil if the lock is free and nobody waits.
func (c *Client) Info(ctx context.Context, key string) (*Info, error) {
	ctx, stop := c.withClosing(ctx)
	defer stop()
	reply, _, err := c.execute(ctx, c.slot(key), core.Command{"LOCK.INFO", key})
	if err != nil || reply == nil {
		return nil, err
	}
	return readInfo(reply), nil
}

func readInfo(reply any) *Info {
	fields := core.ReadFields(reply)
	info := &Info{
		Mode:         fields.Text("mode"),
		HoldersCount: int(fields.Number("holders-count")),
		Waiters:      int(fields.Number("waiters")),
		Queue:        readQueue(fields),
		Cooling:      fields.Span("cooling"),
	}
	for _, holder := range fields.List("holders") {
		info.Holders = append(info.Holders, Holder{
			Owner:     holder.Text("owner"),
			Fence:     holder.Number("fence"),
			ExpiresIn: holder.Span("ttl"),
			Held:      holder.Span("held"),
			Limit:     int(holder.Number("limit")),
			Weight:    int(holder.Number("weight")),
			Session:   holder.Number("session"),
			Max:       holder.Span("max"),
		})
	}
	return info
}

func readQueue(fields core.Fields) []Waiter {
	var queue []Waiter
	for _, waiter := range fields.List("queue") {
		queue = append(queue, Waiter{
			Owner: waiter.Text("owner"), Mode: waiter.Text("mode"), Waited: waiter.Span("waited"), Client: waiter.Number("client"),
		})
	}
	return queue
}

func readEntry(fields core.Fields) Entry {
	return Entry{
		Key:          fields.Text("key"),
		Mode:         fields.Text("mode"),
		Owner:        fields.Text("owner"),
		HoldersCount: int(fields.Number("holders-count")),
		Fence:        fields.Number("fence"),
		ExpiresIn:    fields.Span("ttl"),
		Held:         fields.Span("held"),
		Waiters:      int(fields.Number("waiters")),
		Waited:       fields.Span("waited"),
		Queue:        readQueue(fields),
	}
}

// Filter chooses locks for [Client.List]. Empty members choose all.
type Filter struct {
	// Match is a pattern for keys, as in KEYS.
	Match string
	// Owner chooses the locks that it holds.
	Owner string
}

// List iterates over the locks, in a cluster over those of all nodes. A lock may come twice. An error ends it.
func (c *Client) List(ctx context.Context, filter Filter) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		ctx, stop := c.withClosing(ctx)
		defer stop()
		primaries, err := c.router.Primaries(ctx)
		if err != nil {
			yield(Entry{}, &UnreachableError{Err: err, cause: deadline(ctx)})
			return
		}
		for _, node := range primaries {
			if !c.listNode(ctx, node, filter, yield) {
				return
			}
		}
	}
}

func (c *Client) listNode(ctx context.Context, node *nodes.Node, filter Filter, yield func(Entry, error) bool) bool {
	cursor := "0"
	for {
		command := core.Command{"LOCK.LIST", cursor, "COUNT", 100}
		if filter.Match != "" {
			command = append(command, "MATCH", filter.Match)
		}
		if filter.Owner != "" {
			command = append(command, "OWNER", filter.Owner)
		}
		reply, err := c.executeAt(ctx, node, command)
		if err != nil {
			yield(Entry{}, err)
			return false
		}
		page, _ := reply.([]any)
		if len(page) != 2 {
			yield(Entry{}, errors.New("the server answered LOCK.LIST with something else"))
			return false
		}
		entries, _ := page[1].([]any)
		for _, entry := range entries {
			if !yield(readEntry(core.ReadFields(entry)), nil) {
				return false
			}
		}
		cursor, _ = page[0].(string)
		if cursor == "0" || cursor == "" {
			return true
		}
	}
}

// Top asks for the locks that most clients wait for, at most n of each node.
func (c *Client) Top(ctx context.Context, n int) ([]Entry, error) {
	ctx, stop := c.withClosing(ctx)
	defer stop()
	primaries, err := c.router.Primaries(ctx)
	if err != nil {
		return nil, &UnreachableError{Err: err, cause: deadline(ctx)}
	}
	var top []Entry
	for _, node := range primaries {
		reply, err := c.executeAt(ctx, node, core.Command{"LOCK.TOP", "COUNT", n})
		if err != nil {
			return nil, err
		}
		entries, _ := reply.([]any)
		for _, entry := range entries {
			top = append(top, readEntry(core.ReadFields(entry)))
		}
	}
	return top, nil
}

// executeAt asks one node, once.
func (c *Client) executeAt(ctx context.Context, node *nodes.Node, command core.Command) (any, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*c.options.requestTimeout, context.DeadlineExceeded)
	defer cancel()
	conn, err := node.Shared(ctx)
	if err == nil {
		call := conn.Post(command)
		if err = c.await(ctx, node, conn, nodes.AnySlot, call); err == nil {
			var reply any
			if reply, err = call.Last(); err == nil {
				return reply, nil
			}
		}
	}
	var refusal *core.Refusal
	if errors.As(err, &refusal) {
		return nil, serverError(refusal)
	}
	return nil, c.unanswered(ctx, nil, nil, err)
}
