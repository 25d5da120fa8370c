package redislock

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// grace is how much later than the caller's deadline the server's BLOCK ends, and how much later than that the read.
	// So the caller's context decides, and the other two are for the case that its end cannot be told to the server.
	grace = time.Second
	// withdrawalMax bounds how long a withdrawal holds up its caller when the server does not answer.
	withdrawalMax = 2 * time.Second
	// withdrawalPause lies between two LOCK.RELEASE of one withdrawal.
	withdrawalPause = 20 * time.Millisecond
)

// answer is what came of a wait.
type answer struct {
	fence int64
	err   error
}

// Wait asks for the lock and stands in the server's line until it is granted or ctx ends. If ctx ends, the error is that
// of ctx, and the owner neither waits nor holds any more.
// [ErrBusy]: somebody else ended the wait, with LOCK.RELEASE of the same owner or with CLIENT UNBLOCK.
func (c *Client) Wait(ctx context.Context, key, owner string, lease time.Duration) (fence int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	// go-redis does not stop reading when a context is cancelled. So the request has a goroutine and a context of its own.
	asking, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	deadline, _ := ctx.Deadline()
	answered := make(chan answer, 1)
	go func() {
		fence, err := c.ask(asking, key, owner, lease, deadline)
		answered <- answer{fence, err}
	}()

	select {
	case got := <-answered:
		if got.err != nil && !errors.Is(got.err, ErrBusy) {
			c.drop(key, owner) // It may have been granted all the same.
		}
		return got.fence, got.err
	case <-ctx.Done():
		stop() // What was not sent yet is not sent any more.
		withdrawn := make(chan struct{})
		go func() {
			c.withdraw(key, owner, answered)
			close(withdrawn)
		}()
		select {
		case <-withdrawn:
		case <-time.After(withdrawalMax): // It goes on in the background.
		}
		return 0, ctx.Err()
	}
}

// ask sends LOCK.ACQUIRE with BLOCK up to the deadline, and a little more; without limit if that is zero.
func (c *Client) ask(ctx context.Context, key, owner string, lease time.Duration, deadline time.Time) (int64, error) {
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(2*grace))
		defer cancel()
	}
	for {
		block := int64(0)
		if !deadline.IsZero() {
			block = max(1, (time.Until(deadline) + grace).Milliseconds())
		}
		fence, err := granted(c.waits.Do(ctx, "LOCK.ACQUIRE", key, owner, "PX", lease.Milliseconds(), "BLOCK", block))
		// The server became a replica. Who is asked next is the new primary, once go-redis knows it.
		if !redis.HasErrorPrefix(err, "UNBLOCKED force") {
			return fence, err
		}
	}
}

// withdraw ends a wait: LOCK.RELEASE until it is answered, because the first may reach the server before the
// LOCK.ACQUIRE does, and once more, because the answer may be a grant.
func (c *Client) withdraw(key, owner string, answered <-chan answer) {
	for {
		c.drop(key, owner)
		select {
		case <-answered:
			c.drop(key, owner)
			return
		case <-time.After(withdrawalPause):
		}
	}
}

// drop releases as well as it can be done. If it fails, the lease ends what there is.
func (c *Client) drop(key, owner string) {
	ctx, cancel := context.WithTimeout(context.Background(), withdrawalMax)
	defer cancel()
	_ = c.Release(ctx, key, owner)
}
