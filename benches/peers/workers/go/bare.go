package main

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/redis/go-redis/v9"
)

// bareCommands show what the package costs beside the commands that it sends.
var bareCommands = peer{
	name: "redis-lock", row: "bare commands", driver: goRedis,
	settings: "LOCK.ACQUIRE key owner PX lease BLOCK 0, LOCK.RELEASE key owner; waits in a pool of their own without read time-out",
	links:    []string{"https://github.com/redis/go-redis"},
	open: func(ctx context.Context, job *Job) (system, error) {
		commands, err := connect(ctx, job, goRedisOptions(job))
		if err != nil {
			return nil, err
		}
		options := goRedisOptions(job)
		options.ReadTimeout = -1
		waits, err := connect(ctx, job, options)
		if err != nil {
			return nil, err
		}
		return &lockModule{commands, waits, job}, nil
	},
}

// lockModule sends the commands of the module. A wait occupies its connection, so releases go over others.
type lockModule struct {
	commands, waits *redis.Client
	job             *Job
}

func (l *lockModule) client(context.Context) (lock, error) {
	return func(ctx context.Context, key string) (func() error, error) {
		owner := rand.Text()
		if err := l.waits.Do(ctx, "LOCK.ACQUIRE", key, owner, "PX", l.job.LeaseMs, "BLOCK", 0).Err(); err != nil {
			return nil, err
		}
		return func() error {
			released, err := l.commands.Do(context.Background(), "LOCK.RELEASE", key, owner).Int()
			return one(released, err)
		}, nil
	}, nil
}

// giveUp closes the connections of those who wait, and the server takes them out of the line.
func (l *lockModule) giveUp() {
	_ = l.waits.Close()
}

func (l *lockModule) close() error {
	return l.commands.Close()
}

var errNotHeld = errors.New("the lock was not held any more")

// one makes an error of any other number than 1: who releases in time must still hold.
func one(number int, err error) error {
	if err == nil && number != 1 {
		return errNotHeld
	}
	return err
}
