package main

import (
	"context"
	"runtime"

	"github.com/redis/go-redis/v9"
)

const goRedis = "github.com/redis/go-redis/v9"

// goRedisOptions are go-redis's own, but for a pool in which every client of the job finds a connection. In a smaller one
// they would wait for each other and not for the lock.
func goRedisOptions(job *Job) *redis.Options {
	return &redis.Options{Addr: job.Redis, PoolSize: max(10*runtime.GOMAXPROCS(0), job.Clients)}
}

// connect makes a client with as many open connections as the job has clients, so that no wait is one for a connection.
func connect(ctx context.Context, job *Job, options *redis.Options) (*redis.Client, error) {
	client := redis.NewClient(options)
	for range job.Clients {
		connection := client.Conn()
		defer connection.Close() // Back to the pool, when all are open.
		if err := connection.Ping(ctx).Err(); err != nil {
			return nil, err
		}
	}
	return client, nil
}

// pool is a go-redis client whose waits end with their context.
type pool struct {
	*redis.Client
}

func (pool) giveUp() {}

func (p pool) close() error {
	return p.Client.Close()
}
