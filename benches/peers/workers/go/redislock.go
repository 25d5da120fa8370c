package main

import (
	"context"

	redislock "example.com/redis-lock/clients/go"
	"github.com/redis/go-redis/v9"
)

// redisLock is this project's package, as its manual starts it.
var redisLock = peer{
	name: "redis-lock", row: "defaults", library: "example.com/redis-lock/clients/go", driver: goRedis,
	settings: "lock.New(client), Mutex(key, Lease(lease)).Lock(ctx), Unlock(ctx)",
	links:    []string{"https://github.com/redis/go-redis"},
	open: func(_ context.Context, job *Job) (system, error) {
		below := redis.NewClient(&redis.Options{Addr: job.Redis})
		// No wait is one for a connection.
		locks, err := redislock.New(below, redislock.WithMaxWaits(max(redislock.DefaultMaxWaits, job.Clients)))
		if err != nil {
			return nil, err
		}
		return &lockPackage{below, locks, job}, nil
	},
}

type lockPackage struct {
	below *redis.Client
	locks *redislock.Client
	job   *Job
}

func (l *lockPackage) client(context.Context) (lock, error) {
	return func(ctx context.Context, key string) (func() error, error) {
		hold, err := l.locks.Mutex(key, redislock.Lease(l.job.lease())).Lock(ctx)
		if err != nil {
			return nil, err
		}
		return func() error { return hold.Unlock(context.Background()) }, nil
	}, nil
}

// giveUp has nothing to do: the context ends the waits.
func (l *lockPackage) giveUp() {}

func (l *lockPackage) close() error {
	err := l.locks.Close()
	_ = l.below.Close()
	return err
}
