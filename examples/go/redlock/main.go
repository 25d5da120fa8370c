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
)

func main() {
	addrs := cmp.Or(os.Getenv("REDIS_ADDRS"), "localhost:6379,localhost:6380,localhost:6381")
	redlock, err := New(strings.Split(addrs, ",")...)
	if err != nil {
		log.Fatal(err)
	}
	defer redlock.Close()
	if err := run(redlock); err != nil {
		log.Fatal(err)
	}
}

func run(redlock *Redlock) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for range 3 {
		hold, err := redlock.Lock(ctx, "example:redlock", 3*time.Second)
		if err != nil {
			return err
		}
		fmt.Println("locked, fence", hold.Fence(), "valid for", time.Until(hold.Until()).Round(time.Millisecond))
		working := hold.Renew(ctx)
		select {
		case <-working.Done():
			return context.Cause(working)
		case <-time.After(200 * time.Millisecond): // The work.
		}
		if err := hold.Unlock(ctx); err != nil {
			return err
		}
	}
	return nil
}
