// Mutex is Lock and Unlock for the goroutines of many processes. Start it in two terminals at once.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	lock "example.com/redis-lock/clients/go"
	"github.com/redis/go-redis/v9"
)

func main() {
	client := redis.NewClient(&redis.Options{Addr: cmp.Or(os.Getenv("REDIS_ADDR"), "localhost:6379")})
	defer client.Close()
	// However many goroutines want the lock, the process stands in the server's queue once.
	locks, err := lock.New(client, lock.WithLabel("mutex"), lock.WithSharedWaits())
	if err != nil {
		log.Fatal(err)
	}
	defer locks.Close()
	mutex := locks.Mutex("example:mutex", lock.Lease(10*time.Second))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	var goroutines sync.WaitGroup
	for i := range 5 {
		goroutines.Go(func() {
			if err := mutex.Do(ctx, visit(i)); err != nil {
				log.Println("goroutine", i, "failed:", err)
			}
		})
	}
	goroutines.Wait()
}

// visit is what is done under the lock. Do unlocks, and says so if the lock was lost.
func visit(goroutine int) func(context.Context, *lock.Hold) error {
	return func(_ context.Context, hold *lock.Hold) error {
		fmt.Printf("process %d, goroutine %d: in, fence %d\n", os.Getpid(), goroutine, hold.Fence())
		time.Sleep(200 * time.Millisecond) // The work.
		fmt.Printf("process %d, goroutine %d: out\n", os.Getpid(), goroutine)
		return nil
	}
}
