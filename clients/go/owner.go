package lock

import (
	"context"
	"strings"
	"sync"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
)

// Owner takes several locks for one piece of work. Because the server sees one owner, it finds deadlocks between such
// pieces of work. Any number of goroutines may use it, but it takes each lock only once at a time.
type Owner struct {
	client *Client
	name   string

	mu     sync.Mutex
	claims map[string]*claim
}

// NewOwner makes an owner for several locks.
func (c *Client) NewOwner() *Owner {
	return &Owner{client: c, name: core.NewOwner(c.prefix), claims: map[string]*claim{}}
}

// Name is the owner as LOCK.INFO shows it.
func (o *Owner) Name() string { return o.name }

func (o *Owner) nameOr(prefix string) string {
	if o == nil {
		return core.NewOwner(prefix)
	}
	return o.name
}

// claim says that an owner holds or asks for locks.
type claim struct {
	owner *Owner
	keys  []string
	ended chan struct{}

	// Guarded by the owner's mutex.
	isSettling bool
	isFree     bool
}

// claim waits until an earlier acquisition of these locks by the same owner has left no trace. Its late RELEASE would end
// the new hold.
func (o *Owner) claim(ctx context.Context, keys []string) (*claim, error) {
	if o == nil {
		return nil, nil
	}
	for {
		earlier, mine := o.tryClaim(keys)
		if mine != nil {
			return mine, nil
		}
		o.mu.Lock()
		settling := earlier.isSettling
		o.mu.Unlock()
		if !settling {
			return nil, usage("owner %s holds or asks for one of these locks already: %s", o.name, strings.Join(keys, ", "))
		}
		select {
		case <-earlier.ended:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (o *Owner) tryClaim(keys []string) (earlier, mine *claim) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, key := range keys {
		if earlier := o.claims[key]; earlier != nil {
			return earlier, nil
		}
	}
	mine = &claim{owner: o, keys: keys, ended: make(chan struct{})}
	for _, key := range keys {
		o.claims[key] = mine
	}
	return nil, mine
}

// settling says that the hold has ended, but something of it may still arrive at the server.
func (c *claim) settling() {
	if c == nil {
		return
	}
	c.owner.mu.Lock()
	defer c.owner.mu.Unlock()
	c.isSettling = true
}

// free says that nothing is left.
func (c *claim) free() {
	if c == nil {
		return
	}
	c.owner.mu.Lock()
	defer c.owner.mu.Unlock()
	if c.isFree {
		return
	}
	c.isFree, c.isSettling = true, true
	for _, key := range c.keys {
		if c.owner.claims[key] == c {
			delete(c.owner.claims, key)
		}
	}
	close(c.ended)
}

// gates let the goroutines that want one lock stand behind one wait in the server.
type gates struct {
	mu    sync.Mutex
	byKey map[string]*gate
}

type gate struct {
	entry chan struct{}
	users int
}

// enter waits for the caller's turn. Goroutines are let in first come, first served.
func (g *gates) enter(ctx context.Context, request *core.Request) (leave func(), err error) {
	name := strings.Join(request.Keys, "\x00")
	g.mu.Lock()
	one := g.byKey[name]
	if one == nil {
		one = &gate{entry: make(chan struct{}, 1)}
		g.byKey[name] = one
	}
	one.users++
	g.mu.Unlock()
	done := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(g.byKey, name)
		}
	}
	select {
	case one.entry <- struct{}{}:
		return func() { <-one.entry; done() }, nil
	case <-ctx.Done():
		done()
		return nil, context.Cause(ctx)
	}
}

const (
	// contendedFor is for how long after a refusal a lock counts as contended: who wants it queues at once.
	contendedFor = time.Second
	// contendedMax bounds how many locks are remembered as contended.
	contendedMax = 1000
)

// contention remembers which locks were taken lately.
type contention struct {
	mu    sync.Mutex
	since map[string]time.Time
}

func (c *contention) note(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since == nil || len(c.since) >= contendedMax {
		c.since = map[string]time.Time{}
	}
	c.since[key] = time.Now()
}

func (c *contention) has(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.since[key]
	if ok && time.Since(at) > contendedFor {
		delete(c.since, key)
		ok = false
	}
	return ok
}
