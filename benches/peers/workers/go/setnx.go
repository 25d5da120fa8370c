package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// busyPause is how long the locks written out by hand wait before they ask again.
const busyPause = time.Millisecond

const setLink = "https://redis.io/docs/latest/commands/set/"

var setNxDel = peer{
	name: "set-nx-del", row: "defaults", driver: goRedis,
	settings: "SET key token NX PX lease, again after 1 ms while it is held; DEL. The unsafe floor: it also deletes what somebody else holds",
	links:    []string{setLink},
	open: openSetNx(func(ctx context.Context, client *redis.Client) (unlock, error) {
		return func(ctx context.Context, key, token string) *redis.Cmd { return client.Do(ctx, "DEL", key) }, nil
	}),
}

// compareAndDelete is the script that the documentation of SET asks for.
var compareAndDelete = redis.NewScript(`
if redis.call("get", KEYS[1]) == ARGV[1] then
    return redis.call("del", KEYS[1])
end
return 0`)

var setNxEvalsha = peer{
	name: "set-nx-evalsha", row: "defaults", driver: goRedis,
	settings: "SET key token NX PX lease, again after 1 ms while it is held; compare-and-delete by EVALSHA",
	links:    []string{setLink},
	open: openSetNx(func(ctx context.Context, client *redis.Client) (unlock, error) {
		return func(ctx context.Context, key, token string) *redis.Cmd {
			return compareAndDelete.Run(ctx, client, []string{key}, token)
		}, nil
	}),
}

var setNxDelex = peer{
	name: "set-nx-delex", row: "defaults", driver: goRedis,
	settings: "SET key token NX PX lease, again after 1 ms while it is held; DELEX key IFEQ token (Redis 8.4) or DELIFEQ key token (Valkey 9.0)",
	links:    []string{"https://redis.io/docs/latest/commands/delex/", "https://valkey.io/commands/delifeq/"},
	open: openSetNx(func(ctx context.Context, client *redis.Client) (unlock, error) {
		known, err := client.Command(ctx).Result()
		if err != nil {
			return nil, err
		}
		if known["delex"] != nil {
			return func(ctx context.Context, key, token string) *redis.Cmd {
				return client.Do(ctx, "DELEX", key, "IFEQ", token)
			}, nil
		}
		if known["delifeq"] != nil {
			return func(ctx context.Context, key, token string) *redis.Cmd { return client.Do(ctx, "DELIFEQ", key, token) }, nil
		}
		return nil, errors.New("the server has neither DELEX nor DELIFEQ")
	}),
}

// unlock removes what the token holds; the answer is how many keys that were.
type unlock func(ctx context.Context, key, token string) *redis.Cmd

// setNx is a lock as most people write it by hand.
type setNx struct {
	pool
	job    *Job
	unlock unlock
}

func openSetNx(choose func(context.Context, *redis.Client) (unlock, error)) func(context.Context, *Job) (system, error) {
	return func(ctx context.Context, job *Job) (system, error) {
		client, err := connect(ctx, job, goRedisOptions(job))
		if err != nil {
			return nil, err
		}
		unlock, err := choose(ctx, client)
		if err != nil {
			return nil, err
		}
		return &setNx{pool{client}, job, unlock}, nil
	}
}

func (s *setNx) client(context.Context) (lock, error) {
	return s.acquire, nil
}

func (s *setNx) acquire(ctx context.Context, key string) (func() error, error) {
	token := rand.Text()
	for {
		// Not under the context of the run: what was set must be known, or nobody releases it.
		isSet, err := s.SetNX(context.Background(), key, token, s.job.lease()).Result()
		if err != nil {
			return nil, fmt.Errorf("set: %w", err)
		}
		if isSet {
			return func() error { return one(s.unlock(context.Background(), key, token).Int()) }, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(busyPause):
		}
	}
}
