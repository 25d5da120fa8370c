package main

import (
	"runtime"

	"github.com/redis/go-redis/v9"
)

const goRedis = "github.com/redis/go-redis/v9"

// goRedisOptions are go-redis's own, but for a pool in which every client of the job finds a connection. In a smaller one
// they would wait for each other and not for the lock.
func goRedisOptions(job *Job) *redis.Options {
	return &redis.Options{Addr: job.Redis, PoolSize: max(10*runtime.GOMAXPROCS(0), job.Clients)}
}

// pool is a go-redis client whose waits end with their context.
type pool struct {
	*redis.Client
}

func (pool) giveUp() {}

func (p pool) close() {
	_ = p.Client.Close()
}
