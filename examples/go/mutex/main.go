// Mutex is Lock and Unlock for the goroutines of many processes. Start it in two terminals at once.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"example.com/redis-lock/examples/go/redislock"
	"github.com/redis/go-redis/v9"
)

func main() {
	locks := redislock.New(&redis.UniversalOptions{Addrs: []string{cmp.Or(os.Getenv("REDIS_ADDR"), "localhost:6379")}})
	defer locks.Close()
	mutex := NewMutex(locks, "example:mutex", 10*time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	var goroutines sync.WaitGroup
	for i := range 5 {
		goroutines.Go(func() {
			if err := visit(ctx, mutex, i); err != nil {
				log.Println("goroutine", i, "failed:", err)
			}
		})
	}
	goroutines.Wait()
}

func visit(ctx context.Context, mutex *Mutex, goroutine int) (err error) {
	if err := mutex.Lock(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mutex.Unlock()) }()

	fmt.Printf("process %d, goroutine %d: in, fence %d\n", os.Getpid(), goroutine, mutex.Fence())
	time.Sleep(200 * time.Millisecond) // The work.
	fmt.Printf("process %d, goroutine %d: out\n", os.Getpid(), goroutine)
	return nil
}
