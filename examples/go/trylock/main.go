// Trylock takes a lock at once or not at all: two commands, and no package but go-redis.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
)

func main() {
	client := redis.NewClient(&redis.Options{Addr: cmp.Or(os.Getenv("REDIS_ADDR"), "localhost:6379")})
	defer client.Close()
	if err := run(context.Background(), client); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, client *redis.Client) (err error) {
	lock, err := TryLock(ctx, client, "example:trylock", 10*time.Second)
	if errors.Is(err, ErrBusy) {
		fmt.Println("somebody else is in; not now")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock(ctx)) }()
	fmt.Println("in, fence", lock.Fence())

	_, err = TryLock(ctx, client, "example:trylock", 10*time.Second)
	fmt.Println("a second one meanwhile:", err)
	return nil
}
