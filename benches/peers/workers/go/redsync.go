package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
)

const redsyncLink = "https://pkg.go.dev/github.com/go-redsync/redsync/v4"

// redsyncRetry is the pause of the tuned row. In one sweep over 1, 2, 5, 10 and 20 ms it gave 100 clients and a section of 100 us
// the most grants: with less the server is busy with refusals (each try that fails is also released), with more the lock lies
// idle.
const redsyncRetry = 10 * time.Millisecond

var redsyncRows = []peer{
	{
		name: "redsync", row: "defaults", library: "github.com/go-redsync/redsync/v4", driver: goRedis,
		settings: "one pool, as in its README: expiry 8 s, 32 tries, a random 50 to 250 ms between them; called again when it gives up",
		links:    []string{redsyncLink},
		open:     openRedsync(),
	},
	{
		name: "redsync", row: "tuned", library: "github.com/go-redsync/redsync/v4", driver: goRedis,
		settings: fmt.Sprintf("one pool; WithRetryDelay(%v), WithTries(1000); called again when it gives up", redsyncRetry),
		links:    []string{redsyncLink + "#WithRetryDelay", redsyncLink + "#WithTries"},
		open:     openRedsync(redsync.WithRetryDelay(redsyncRetry), redsync.WithTries(1000)),
	},
}

type redsyncSystem struct {
	pool
	redsync *redsync.Redsync
	options []redsync.Option
}

func openRedsync(options ...redsync.Option) func(context.Context, *Job) (system, error) {
	return func(ctx context.Context, job *Job) (system, error) {
		client, err := connect(ctx, job, goRedisOptions(job))
		if err != nil {
			return nil, err
		}
		return &redsyncSystem{pool{client}, redsync.New(goredis.NewPool(client)), options}, nil
	}
}

func (r *redsyncSystem) client(context.Context) (lock, error) {
	return func(ctx context.Context, key string) (func() error, error) {
		mutex := r.redsync.NewMutex(key, r.options...)
		if err := mutex.LockContext(ctx); err != nil {
			return nil, redsyncError(err)
		}
		return func() error {
			released, err := mutex.Unlock()
			if err == nil && !released {
				return errNotHeld
			}
			return err
		}, nil
	}, nil
}

// redsyncError tells a lock that is taken from a server that does not answer.
func redsyncError(err error) error {
	var taken *redsync.ErrTaken
	if errors.Is(err, redsync.ErrFailed) || errors.As(err, &taken) {
		return errGaveUp
	}
	return err
}
