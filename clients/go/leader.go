package lock

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
	"example.com/redis-lock/clients/go/internal/nodes"
	"example.com/redis-lock/clients/go/internal/wire"
)

const (
	// observeAgain is after how long an observer looks again although nobody told it of a change.
	observeAgain = 15 * time.Second
	// observeUntold is the same where the server cannot tell of changes.
	observeUntold = time.Second
)

// Leader is an election: whoever holds the lock of the key leads.
type Leader struct {
	client *Client
	mutex  *Mutex
	key    string
}

// Leader is the election of a key. With [Session] the leader is replaced at once when its process dies, else when its lease
// ends.
func (c *Client) Leader(key string, options ...Option) *Leader {
	return &Leader{c, c.Mutex(key, options...), key}
}

// Elect waits until this process leads, or ctx ends. It leads until the hold is lost or unlocked, which hands over to the
// next candidate. [Hold.Context] is the context of what only a leader may do.
func (l *Leader) Elect(ctx context.Context) (*Hold, error) {
	return l.mutex.Lock(ctx)
}

// Lead stands for election again and again, and calls lead each time that this process is elected, until ctx ends or lead
// returns an error. If lead returns nil, this process resigns and stands again, behind the other candidates. The context of
// lead ends with ctx, and when the process no longer leads.
func (l *Leader) Lead(ctx context.Context, lead func(ctx context.Context, h *Hold) error) error {
	for {
		h, err := l.Elect(ctx)
		if err != nil {
			return err
		}
		var failure error
		err = under(ctx, h, func(ctx context.Context, h *Hold) error {
			failure = lead(ctx, h)
			return failure
		})
		ownFailure := failure != nil && !errors.Is(failure, context.Canceled) && !errors.Is(failure, ErrNotHeld)
		switch {
		case ownFailure:
			return failure
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !errors.Is(context.Cause(h.Context()), ErrNotHeld):
			return err
		}
	}
}

// Leadership is who leads.
type Leadership struct {
	// Owner is the leader's owner; "" if nobody leads.
	Owner string
	// Fence is that of its hold.
	Fence int64
}

// Observe tells who leads, first at once and then with each change, until ctx ends or the client is closed; then the channel
// is closed. A receiver that is slow misses changes, but not the last one.
func (l *Leader) Observe(ctx context.Context) <-chan Leadership {
	told := make(chan Leadership, 1)
	go func() {
		defer close(told)
		ctx, stop := l.client.withClosing(ctx)
		defer stop()
		l.observe(ctx, told)
	}()
	return told
}

func (l *Leader) observe(ctx context.Context, told chan Leadership) {
	c := l.client
	watcher, stop := c.watch(l.key)
	defer stop()
	backoff := c.backoff()
	var last Leadership
	for first := true; ctx.Err() == nil; {
		now, tracked, err := l.look(ctx)
		if err != nil {
			pause(ctx, backoff.Pause())
			continue
		}
		backoff = c.backoff()
		if first || now != last {
			first, last = false, now
			// The newest replaces one that was not taken.
			select {
			case <-told:
			default:
			}
			told <- now
		}
		again := observeAgain
		if !tracked {
			again = observeUntold
		}
		timer := time.NewTimer(again/2 + rand.N(again))
		select {
		case <-watcher.poked:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// look asks who leads, on the shared connection, and whether the server will tell of the next change.
func (l *Leader) look(ctx context.Context) (now Leadership, tracked bool, err error) {
	c := l.client
	limited, cancel := context.WithTimeout(ctx, 5*c.options.requestTimeout)
	defer cancel()
	var conn *wire.Conn
	var node *nodes.Node
	if node, err = c.router.Node(limited, c.slot(l.key)); err == nil {
		conn = node.Current()
	}
	reply, _, err := c.execute(limited, c.slot(l.key), core.Command{"LOCK.INFO", l.key})
	if err != nil {
		return now, false, err
	}
	if reply != nil {
		if info := readInfo(reply); len(info.Holders) > 0 {
			now = Leadership{info.Holders[0].Owner, info.Holders[0].Fence}
		}
	}
	tracked = conn != nil && node.Tracks(conn)
	return now, tracked, nil
}
