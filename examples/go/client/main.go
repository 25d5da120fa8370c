// Client is all that a full client does: try, wait for a while, extend, automatic renewal, unlock, and the errors.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"time"

	lock "example.com/redis-lock/clients/go"
	"github.com/redis/go-redis/v9"
)

const key = "example:client"

func main() {
	operator := redis.NewClient(&redis.Options{Addr: cmp.Or(os.Getenv("REDIS_ADDR"), "localhost:6379")})
	defer operator.Close()
	locks, err := lock.New(operator, lock.WithLabel("client"))
	if err != nil {
		log.Fatal(err)
	}
	defer locks.Close()
	if err := run(context.Background(), locks, operator); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, locks *lock.Client, operator redis.UniversalClient) error {
	mutex := locks.Mutex(key, lock.Lease(time.Second))
	hold, err := mutex.Lock(ctx)
	if err != nil {
		return err
	}
	fmt.Println("locked, fence", hold.Fence())
	_, err = mutex.TryLock(ctx)
	fmt.Println("TryLock meanwhile:", err)
	waiting, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, err = mutex.Lock(waiting)
	fmt.Println("Lock for 100 ms meanwhile:", err)

	working := hold.Context()
	select {
	case <-working.Done():
		return context.Cause(working)
	case <-time.After(3 * time.Second):
		fmt.Println("still locked after three times the lease")
	}

	if err := operator.Del(ctx, key).Err(); err != nil {
		return err
	}
	<-working.Done()
	fmt.Println("an operator removed the lock:", context.Cause(working))
	fmt.Println("Unlock:", hold.Unlock(ctx))
	return nil
}
