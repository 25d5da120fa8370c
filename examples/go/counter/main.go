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

	"example.com/redis-lock/examples/go/redislock"
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

	options := &redis.UniversalOptions{Addrs: []string{cmp.Or(os.Getenv("REDIS_ADDR"), "localhost:6379")}}
	data := redis.NewUniversalClient(options)
	defer data.Close()
	locks := redislock.New(options)
	defer locks.Close()

	for range *times {
		ctx, cancel := context.WithTimeout(context.Background(), *limit)
		err := Locked(ctx, locks, lockKey, *lease, func(ctx context.Context, hold Hold) error {
			return increment(ctx, data, hold, *work)
		})
		cancel()
		if err != nil {
			log.Fatal(err)
		}
	}
}

func increment(ctx context.Context, data redis.UniversalClient, hold Hold, work time.Duration) error {
	value, err := data.Get(ctx, counterKey).Int()
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	select {
	case <-time.After(work):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := hold.Set(ctx, data, counterKey, value+1); err != nil {
		return err
	}
	fmt.Println("counter", value+1, "fence", hold.Fence())
	return nil
}
