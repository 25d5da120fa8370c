// Package lock is a client for the locks of redis-lock, the Redis module with the LOCK commands.
//
//	c, err := lock.New(redis.NewClient(&redis.Options{Addr: "localhost:6379"}), lock.WithLabel("orders"))
//	defer c.Close()
//
//	h, err := c.Mutex("orders:42", lock.Lease(10*time.Second)).Lock(ctx)
//	if err != nil {
//		return err // errors.Is(err, lock.ErrNotAcquired): others held it until ctx ended
//	}
//	defer h.Unlock(ctx)
//	return save(h.Context(), h.Fence()) // the context ends if the lock is lost
//
// The context of Lock bounds the waiting only. [Hold.Context] is for the work: it is cancelled, with the reason as its
// cause, when the hold is lost. The hold is renewed in the background until it is released or lost.
//
// [New] takes a UniversalClient of go-redis, for a server, Sentinels or a Redis Cluster, and uses its addresses, dialer,
// TLS and credentials. It opens connections of its own: one for commands, one that watches the server, and one for each
// wait. A command that blocks needs that, because its cancellation has to follow it on the same connection.
//
// The package locktest has a server in memory for your tests.
package lock

// Version is the version of this package.
const Version = "0.1.0"
