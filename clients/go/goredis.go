package lock

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
)

// Deployment says where the servers are. It is for adapters of client libraries: users of go-redis call [New].
type Deployment struct {
	// Addr is the address of the primary. If it is empty, Cluster must not be.
	Addr string
	// Moving says that Dial decides where the primary is, as one that asks Sentinels does.
	Moving bool
	// Cluster has the addresses of some nodes of a Redis Cluster.
	Cluster []string
	// Dial connects to an address, with TLS if need be.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Credentials are asked for with each connection. May be nil.
	Credentials func(ctx context.Context) (username, password string, err error)
	// DB is the number of the database.
	DB int
	// OldProtocol asks for RESP2, in which a server cannot tell of lost locks.
	OldProtocol bool
	// Clock is for tests. If it is nil, a clock is taken that also goes on while the machine sleeps.
	Clock func() time.Duration
}

// New makes a client for the servers of rdb: a *redis.Client, also one for Sentinels, or a *redis.ClusterClient. It takes
// addresses, dialer, TLS, credentials, database and protocol from rdb and opens connections of its own. Hooks, OnConnect and
// time-outs of rdb do not apply to these. rdb may be closed after the client.
func New(rdb redis.UniversalClient, options ...ClientOption) (*Client, error) {
	deployment, err := describe(rdb)
	if err != nil {
		return nil, err
	}
	return Open(deployment, options...)
}

func describe(rdb redis.UniversalClient) (Deployment, error) {
	switch rdb := rdb.(type) {
	case *redis.Client:
		if rdb == nil {
			return Deployment{}, usage("the Redis client is nil")
		}
		o := rdb.Options()
		return Deployment{
			Addr: o.Addr,
			// What go-redis calls a client for Sentinels.
			Moving: o.Addr == "FailoverClient",
			Dial: func(ctx context.Context, addr string) (net.Conn, error) {
				return o.Dialer(ctx, o.Network, addr)
			},
			Credentials: credentials(o.Username, o.Password, o.CredentialsProvider, o.CredentialsProviderContext,
				o.StreamingCredentialsProvider),
			DB:          o.DB,
			OldProtocol: o.Protocol == 2,
		}, nil
	case *redis.ClusterClient:
		if rdb == nil {
			return Deployment{}, usage("the Redis client is nil")
		}
		return describeCluster(rdb.Options())
	default:
		return Deployment{}, usage("%T is neither a *redis.Client nor a *redis.ClusterClient", rdb)
	}
}

func describeCluster(o *redis.ClusterOptions) (Deployment, error) {
	if o.ClusterSlots != nil {
		return Deployment{}, usage("a ClusterClient with ClusterSlots is not supported; pass a client for each primary")
	}
	return Deployment{
		Cluster: o.Addrs,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			if o.Dialer != nil {
				return o.Dialer(ctx, "tcp", addr)
			}
			timeout := o.DialTimeout
			if timeout <= 0 {
				timeout = 5 * time.Second
			}
			dial := redis.NewDialer(&redis.Options{TLSConfig: o.TLSConfig, DialTimeout: timeout})
			return dial(ctx, "tcp", addr)
		},
		Credentials: credentials(o.Username, o.Password, o.CredentialsProvider, o.CredentialsProviderContext,
			o.StreamingCredentialsProvider),
		OldProtocol: o.Protocol == 2,
	}, nil
}

// credentials chooses as go-redis does.
func credentials(
	username, password string,
	provider func() (string, string),
	withContext func(context.Context) (string, string, error),
	streaming auth.StreamingCredentialsProvider,
) func(context.Context) (string, string, error) {
	switch {
	case streaming != nil:
		return func(context.Context) (string, string, error) {
			current, unsubscribe, err := streaming.Subscribe(ignoreUpdates{})
			if err != nil {
				return "", "", fmt.Errorf("credentials: %w", err)
			}
			username, password := current.BasicAuth()
			return username, password, unsubscribe()
		}
	case withContext != nil:
		return withContext
	case provider != nil:
		return func(context.Context) (string, string, error) {
			username, password := provider()
			return username, password, nil
		}
	case username == "" && password == "":
		return nil
	default:
		return func(context.Context) (string, string, error) { return username, password, nil }
	}
}

// ignoreUpdates asks only for the credentials of the moment. A server that closes a connection when its credentials end
// makes the client connect, and ask, again.
type ignoreUpdates struct{}

func (ignoreUpdates) OnNext(auth.Credentials) {}
func (ignoreUpdates) OnError(error)           {}

// validate says what is missing.
func (d *Deployment) validate() error {
	switch {
	case d.Dial == nil:
		return usage("a deployment needs a Dial")
	case d.Addr == "" && len(d.Cluster) == 0:
		return usage("a deployment needs an address")
	case d.Addr != "" && len(d.Cluster) > 0:
		return usage("a deployment is one primary or a cluster, not both")
	}
	return nil
}
