package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/clients/go/locktest"
	lockrueidis "example.com/redis-lock/clients/go/rueidis"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
)

// connected is a client or a quorum, and what has to be closed after it.
type connected struct {
	client *lock.Client
	quorum *lock.Quorum
	below  []redis.UniversalClient
	fake   *locktest.Server

	closing sync.Once
	closed  error
}

func (c *connected) opened() int64 {
	if c.quorum != nil {
		return c.quorum.ConnectionsOpened()
	}
	return c.client.ConnectionsOpened()
}

func (c *connected) close() error {
	c.closing.Do(func() { c.closed = c.closeAll() })
	return c.closed
}

func (c *connected) closeAll() error {
	var errs []error
	if c.quorum != nil {
		errs = append(errs, c.quorum.Close())
	} else {
		errs = append(errs, c.client.Close())
	}
	for _, rdb := range c.below {
		errs = append(errs, rdb.Close())
	}
	if c.fake != nil {
		c.fake.Close()
	}
	return errors.Join(errs...)
}

func (d *driver) connected(name string) (*connected, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.locks[name]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("%w: there is no connection %q", errUsage, name)
}

// single is a client that is no quorum.
func (d *driver) single(name string) (*lock.Client, error) {
	c, err := d.connected(name)
	if err != nil {
		return nil, err
	}
	if c.client == nil {
		return nil, fmt.Errorf("%w: not for a quorum", errUnsupported)
	}
	return c.client, nil
}

func (d *driver) owner(locks, scope string) (*lock.Owner, error) {
	c, err := d.single(locks)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	name := locks + "\x00" + scope
	if d.owners[name] == nil {
		d.owners[name] = c.NewOwner()
	}
	return d.owners[name], nil
}

func (d *driver) connect(r *request) error {
	options := []lock.ClientOption{lock.WithLabel(r.Label), lock.WithLogger(d.logger)}
	if r.RequestTimeoutMS != nil {
		options = append(options, lock.WithRequestTimeout(time.Duration(*r.RequestTimeoutMS)*time.Millisecond))
	}
	if r.MaxConnections != nil {
		// The client needs two besides those of waits: one for commands, and one that watches the server.
		options = append(options, lock.WithMaxWaits(max(1, *r.MaxConnections-2)))
	}
	if r.ShareWaits {
		options = append(options, lock.WithSharedWaits())
	}
	var servers []*redis.Options
	for _, text := range r.URLs {
		server, err := redis.ParseURL(text)
		if err != nil {
			return fmt.Errorf("%w: %q: %w", errUsage, text, err)
		}
		servers = append(servers, server)
	}
	if len(servers) == 0 && r.Deployment != "fake" {
		return fmt.Errorf("%w: connect needs urls", errUsage)
	}
	connect := connectGoRedis
	if d.library == "rueidis" {
		connect = connectRueidis
	}
	if r.Deployment == "fake" {
		connect = connectFake
	}
	c, err := connect(r, servers, options)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.locks[r.Locks] = c
	return nil
}

// connectFake connects to a server in memory.
func connectFake(_ *request, _ []*redis.Options, options []lock.ClientOption) (*connected, error) {
	fake := locktest.New()
	c, err := lock.Open(fake.Deployment(), options...)
	return &connected{client: c, fake: fake}, err
}

func addresses(servers []*redis.Options) []string {
	var addrs []string
	for _, server := range servers {
		addrs = append(addrs, server.Addr)
	}
	return addrs
}

func connectGoRedis(r *request, servers []*redis.Options, options []lock.ClientOption) (*connected, error) {
	var below []redis.UniversalClient
	first := servers[0]
	switch r.Deployment {
	case "single":
		below = append(below, redis.NewClient(first))
	case "sentinel":
		below = append(below, redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: r.Service, SentinelAddrs: addresses(servers), Username: first.Username, Password: first.Password,
		}))
	case "cluster":
		below = append(below, redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: addresses(servers), Username: first.Username, Password: first.Password,
		}))
	case "quorum":
		for _, server := range servers {
			below = append(below, redis.NewClient(server))
		}
		q, err := lock.NewQuorum(below, options...)
		return &connected{quorum: q, below: below}, err
	default:
		return nil, fmt.Errorf("%w: deployment %q", errUsage, r.Deployment)
	}
	c, err := lock.New(below[0], options...)
	return &connected{client: c, below: below}, err
}

func connectRueidis(r *request, servers []*redis.Options, options []lock.ClientOption) (*connected, error) {
	option := rueidisOption(servers[0], addresses(servers))
	switch r.Deployment {
	case "single":
		option.ForceSingleClient = true
	case "sentinel":
		option.Sentinel.MasterSet = r.Service
	case "cluster":
	case "quorum":
		var members []rueidis.ClientOption
		for _, server := range servers {
			members = append(members, rueidisOption(server, []string{server.Addr}))
		}
		q, err := lockrueidis.NewQuorum(members, options...)
		return &connected{quorum: q}, err
	default:
		return nil, fmt.Errorf("%w: deployment %q", errUsage, r.Deployment)
	}
	c, err := lockrueidis.New(option, options...)
	return &connected{client: c}, err
}

func rueidisOption(server *redis.Options, addrs []string) rueidis.ClientOption {
	return rueidis.ClientOption{
		InitAddress: addrs, Username: server.Username, Password: server.Password, SelectDB: server.DB,
	}
}
