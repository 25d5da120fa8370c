// Redlock locks on three independent servers, of which one may be down.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	lock "example.com/redis-lock/clients/go"
	"github.com/redis/go-redis/v9"
)

func main() {
	addrs := cmp.Or(os.Getenv("REDIS_ADDRS"), "localhost:6379,localhost:6380,localhost:6381")
	var members []redis.UniversalClient
	for addr := range strings.SplitSeq(addrs, ",") {
		client := redis.NewClient(&redis.Options{Addr: addr})
		defer client.Close()
		members = append(members, client)
	}
	quorum, err := lock.NewQuorum(members, lock.WithLabel("redlock"))
	if err != nil {
		log.Fatal(err)
	}
	defer quorum.Close()
	if err := run(quorum.Mutex("example:redlock", lock.Lease(3*time.Second))); err != nil {
		log.Fatal(err)
	}
}

func run(mutex *lock.Mutex) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for range 3 {
		err := mutex.Do(ctx, func(ctx context.Context, hold *lock.Hold) error {
			fmt.Println("locked, fence", hold.Fence(), "valid for", hold.ExpiresIn().Round(time.Millisecond))
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(200 * time.Millisecond): // The work.
				return nil
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}
