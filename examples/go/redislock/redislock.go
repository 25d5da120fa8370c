// Package redislock sends the LOCK.* commands of redis-lock through go-redis. The systems beside it are built on it.
//
// What a Go user should know, and where this package takes care of it:
//
//   - go-redis sends a command again by itself when the reply is lost (MaxRetries). With an owner of one's own that is
//     harmless: whoever holds the lock and asks again gets the same fence. With the owner "*" it would cost a lease.
//   - A wait occupies its pooled connection until it is answered. Waits have a pool of their own here, so that they
//     cannot use up the connections over which the holder extends and releases.
//   - The read time-out must lie above BLOCK. The pool of the waits has none; each wait gets a deadline above its BLOCK.
//   - A context that ends does not reach the server, and go-redis goes on reading. [Client.Wait] sends LOCK.RELEASE,
//     which withdraws the wait.
//   - SESSION is not offered: in a pool the connection is not yours, and neither is the moment when it closes.
package redislock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrBusy says that others hold the lock or wait for it.
	ErrBusy = errors.New("the lock is busy")
	// ErrNotHeld says that the owner does not hold the lock: its lease ended, it was released, or an operator removed it.
	// Others may have held it meanwhile.
	ErrNotHeld = errors.New("the lock is not held")
)

// waitsMax bounds how many goroutines of this process stand in line at a server. More of them wait here for a connection.
// Let it be more than the goroutines that hold a lock while they wait for another one.
const waitsMax = 1000

// Client sends the commands. Any number of goroutines may use it.
type Client struct {
	commands, waits redis.UniversalClient
}

// New takes the address of a server, of Sentinels (with MasterName) or of a cluster's nodes, as go-redis does.
func New(options *redis.UniversalOptions) *Client {
	commands := *options
	commands.ContextTimeoutEnabled = true // Else a deadline does not end a read.

	waits := commands
	waits.ReadTimeout = -1
	waits.PoolSize = waitsMax
	waits.PoolTimeout = 365 * 24 * time.Hour // The context of the wait decides.
	waits.MaxIdleConns = 10
	return &Client{redis.NewUniversalClient(&commands), redis.NewUniversalClient(&waits)}
}

// Close closes the connections. Holds stay until they are released or their lease ends.
func (c *Client) Close() error {
	return errors.Join(c.commands.Close(), c.waits.Close())
}

// NewOwner makes a name that nobody else has. Take a new one for each acquisition.
func NewOwner() string {
	return rand.Text()
}

// Acquire asks for the lock and does not wait: the fence, or [ErrBusy].
// After any other error it may have been granted all the same, so send [Client.Release].
func (c *Client) Acquire(ctx context.Context, key, owner string, lease time.Duration) (fence int64, err error) {
	return granted(c.commands.Do(ctx, "LOCK.ACQUIRE", key, owner, "PX", lease.Milliseconds()))
}

// Extend sets the lease to that long from now, if the owner still holds the lock under this fence; else [ErrNotHeld].
func (c *Client) Extend(ctx context.Context, key, owner string, fence int64, lease time.Duration) error {
	return held(c.commands.Do(ctx, "LOCK.EXTEND", key, owner, "PX", lease.Milliseconds(), "FENCE", fence))
}

// Raise is Extend that also lifts the fence of the hold, and of all later ones on that server, to at least this.
func (c *Client) Raise(ctx context.Context, key, owner string, fence int64, lease time.Duration) error {
	return held(c.commands.Do(ctx, "LOCK.EXTEND", key, owner, "PX", lease.Milliseconds(), "RAISE", fence))
}

// Release ends the owner's hold, and withdraws its wait if it has one. [ErrNotHeld] if it held nothing; that is also the
// answer when the reply to a first RELEASE was lost and go-redis sent a second one.
func (c *Client) Release(ctx context.Context, key, owner string) error {
	return held(c.commands.Do(ctx, "LOCK.RELEASE", key, owner))
}

// granted reads the answer of LOCK.ACQUIRE: the fence, or null.
func granted(reply *redis.Cmd) (fence int64, err error) {
	fence, err = reply.Int64()
	if errors.Is(err, redis.Nil) {
		return 0, ErrBusy
	}
	if err != nil {
		return 0, fmt.Errorf("acquire: %w", err)
	}
	return fence, nil
}

// held reads the answer of LOCK.EXTEND and LOCK.RELEASE: 1 if the owner held the lock, else 0.
func held(reply *redis.Cmd) error {
	yes, err := reply.Int64()
	if err != nil {
		return fmt.Errorf("%s: %w", reply.Name(), err)
	}
	if yes == 0 {
		return ErrNotHeld
	}
	return nil
}
