// Package first is the first lock of the README.
package first

import (
	"context"
	"time"

	lock "example.com/redis-lock/clients/go"
)

func withLock(ctx context.Context, locks *lock.Client, key string, write func(context.Context, int64) error) error {
	waiting, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	hold, err := locks.Mutex(key).Lock(waiting)
	if err != nil {
		return err // errors.Is(err, lock.ErrNotAcquired): others held it for 10 seconds
	}
	defer hold.Unlock(ctx)
	return write(hold.Context(), hold.Fence()) // the resource rejects a fence below the largest one it has seen
}
