// Package first is the first lock of the README: plain go-redis, no helper.
package first

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/redis/go-redis/v9"
)

func withLock(ctx context.Context, client *redis.Client, key string, write func(fence int64) error) error {
	owner := rand.Text() // a new owner for each acquisition
	fence, err := client.Do(ctx, "LOCK.ACQUIRE", key, owner, "PX", 30_000, "BLOCK", 10_000).Int64()
	if errors.Is(err, redis.Nil) {
		return errors.New("others held " + key + " for 10 seconds")
	} else if err != nil {
		return err
	}
	defer client.Do(context.WithoutCancel(ctx), "LOCK.RELEASE", key, owner, "FENCE", fence)
	return write(fence) // the resource rejects a fence below the largest one it has seen
}
