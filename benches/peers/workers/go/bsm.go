package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bsm/redislock"
)

const bsmLink = "https://pkg.go.dev/github.com/bsm/redislock"

// bsmRetry is the pause of the tuned row, chosen like redsyncRetry; here a try is one request.
const bsmRetry = 5 * time.Millisecond

// By default it does not wait at all, so both rows name a strategy; the pause of the first is that of its own example.
var bsmRows = []peer{
	{
		name: "redislock", row: "defaults", library: "github.com/bsm/redislock", driver: goRedis,
		settings: "RetryStrategy LinearBackoff(100ms), without limit",
		links:    []string{bsmLink + "#example-Client.Obtain-Retry"},
		open:     openBsm(100 * time.Millisecond),
	},
	{
		name: "redislock", row: "tuned", library: "github.com/bsm/redislock", driver: goRedis,
		settings: fmt.Sprintf("RetryStrategy LinearBackoff(%v), without limit", bsmRetry),
		links:    []string{bsmLink + "#LinearBackoff"},
		open:     openBsm(bsmRetry),
	},
}

type bsmSystem struct {
	pool
	job   *Job
	locks *redislock.Client
	retry time.Duration
}

func openBsm(retry time.Duration) func(context.Context, *Job) (system, error) {
	return func(ctx context.Context, job *Job) (system, error) {
		client, err := connect(ctx, job, goRedisOptions(job))
		if err != nil {
			return nil, err
		}
		return &bsmSystem{pool{client}, job, redislock.New(client), retry}, nil
	}
}

func (b *bsmSystem) client(context.Context) (lock, error) {
	return func(ctx context.Context, key string) (func() error, error) {
		options := &redislock.Options{RetryStrategy: redislock.LinearBackoff(b.retry)}
		held, err := b.locks.Obtain(ctx, key, b.job.lease(), options)
		switch {
		case err == nil:
			return func() error { return held.Release(context.Background()) }, nil
		// Without a deadline of the caller it sets one of its own, the length of a lease.
		case errors.Is(err, redislock.ErrNotObtained), errors.Is(err, context.DeadlineExceeded):
			return nil, errGaveUp
		default:
			return nil, err
		}
	}, nil
}
