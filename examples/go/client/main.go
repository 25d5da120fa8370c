// Client is the full client: try, wait, refresh, automatic refresh, unlock.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"example.com/redis-lock/examples/go/redislock"
	"github.com/redis/go-redis/v9"
)

const key = "example:client"

func main() {
	options := &redis.UniversalOptions{Addrs: []string{cmp.Or(os.Getenv("REDIS_ADDR"), "localhost:6379")}}
	locks := redislock.New(options)
	defer locks.Close()
	operator := redis.NewUniversalClient(options)
	defer operator.Close()
	if err := run(context.Background(), NewClient(locks), operator); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, client *Client, operator redis.UniversalClient) error {
	lock, err := client.Lock(ctx, key, time.Second, time.Minute)
	if err != nil {
		return err
	}
	fmt.Println("locked, fence", lock.Fence())
	_, err = client.TryLock(ctx, key, time.Second)
	fmt.Println("TryLock meanwhile:", err)
	_, err = client.Lock(ctx, key, time.Second, 100*time.Millisecond)
	fmt.Println("Lock for 100 ms meanwhile:", err)

	working, err := lock.AutoRefresh(ctx)
	if err != nil {
		return err
	}
	select {
	case <-working.Done():
		return context.Cause(working)
	case <-time.After(3 * time.Second):
		fmt.Println("still locked after three times the expiration")
	}

	if err := operator.Del(ctx, key).Err(); err != nil {
		return err
	}
	<-working.Done()
	fmt.Println("an operator removed the lock:", context.Cause(working))
	fmt.Println("Unlock:", lock.Unlock(ctx))
	return nil
}
