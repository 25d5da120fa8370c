// Trylock takes a lock at once or not at all.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	lock "example.com/redis-lock/clients/go"
	"github.com/redis/go-redis/v9"
)

func main() {
	client := redis.NewClient(&redis.Options{Addr: cmp.Or(os.Getenv("REDIS_ADDR"), "localhost:6379")})
	defer client.Close()
	locks, err := lock.New(client, lock.WithLabel("trylock"))
	if err != nil {
		log.Fatal(err)
	}
	defer locks.Close()
	if err := run(context.Background(), locks.Mutex("example:trylock", lock.Lease(10*time.Second))); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, mutex *lock.Mutex) (err error) {
	hold, err := mutex.TryLock(ctx)
	if errors.Is(err, lock.ErrNotAcquired) {
		fmt.Println("somebody else is in; not now")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hold.Unlock(ctx)) }()
	fmt.Println("in, fence", hold.Fence())

	_, err = mutex.TryLock(ctx)
	fmt.Println("a second one meanwhile:", err)
	return nil
}
