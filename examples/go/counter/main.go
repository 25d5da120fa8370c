// Counter adds to a counter that many processes share, in three steps: read, work, write. Start it in many terminals at
// once: no addition is lost.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	lock "example.com/redis-lock/clients/go"
	"github.com/redis/go-redis/v9"
)

// In braces: what a cluster must keep in one slot.
const (
	counterKey = "example:{counter}"
	lockKey    = "example:{counter}:lock"
)

func main() {
	times := flag.Int("n", 5, "how many times to add one")
	work := flag.Duration("work", 100*time.Millisecond, "how long to work between read and write")
	lease := flag.Duration("lease", 10*time.Second, "how long a dead process keeps the others out")
	limit := flag.Duration("limit", time.Minute, "how long one addition may take, waiting included")
	flag.Parse()

	data := redis.NewClient(&redis.Options{Addr: cmp.Or(os.Getenv("REDIS_ADDR"), "localhost:6379")})
	defer data.Close()
	locks, err := lock.New(data, lock.WithLabel("counter"))
	if err != nil {
		log.Fatal(err)
	}
	defer locks.Close()
	// The lease is renewed while the work goes on, so it may be much shorter than the work.
	mutex := locks.Mutex(lockKey, lock.Lease(*lease))

	for range *times {
		ctx, cancel := context.WithTimeout(context.Background(), *limit)
		err := mutex.Do(ctx, func(ctx context.Context, hold *lock.Hold) error {
			return increment(ctx, data, hold, *work)
		})
		cancel()
		if err != nil {
			log.Fatal(err)
		}
	}
}

func increment(ctx context.Context, data redis.UniversalClient, hold *lock.Hold, work time.Duration) error {
	value, err := data.Get(ctx, counterKey).Int()
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	select {
	case <-time.After(work):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := set(ctx, data, hold, counterKey, value+1); err != nil {
		return err
	}
	fmt.Println("counter", value+1, "fence", hold.Fence())
	return nil
}

// set writes a value that takes effect only while the hold goes on, or returns [lock.ErrNotHeld]: the server runs the
// transaction only if nothing happened to the lock since WATCH. So even a process that was stopped for longer than its
// lease, between the check and the write, overwrites nothing. The lock and the value must be on one server (in a cluster:
// in one slot); elsewhere the resource has to compare fences.
func set(ctx context.Context, data redis.UniversalClient, hold *lock.Hold, key string, value any) error {
	err := data.Watch(ctx, func(tx *redis.Tx) error {
		if err := tx.Do(ctx, "LOCK.CHECK", hold.Key(), hold.Owner()).Err(); err != nil {
			return err // redis.Nil if it is not held.
		}
		_, err := tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			return pipe.Set(ctx, key, value, 0).Err()
		})
		return err
	}, hold.Key())
	if errors.Is(err, redis.Nil) || errors.Is(err, redis.TxFailedErr) {
		return lock.ErrNotHeld
	}
	return err
}
