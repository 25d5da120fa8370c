package main

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	lock "example.com/redis-lock/clients/go"
	lockrueidis "example.com/redis-lock/clients/go/rueidis"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
)

// connected is a client or a quorum, and what has to be closed after it.
type connected struct {
	client *lock.Client
	quorum *lock.Quorum
	below  []redis.UniversalClient
}

func (c *connected) opened() int64 {
	if c.quorum != nil {
		return c.quorum.ConnectionsOpened()
	}
	return c.client.ConnectionsOpened()
}

func (c *connected) close() error {
	var errs []error
	if c.quorum != nil {
		errs = append(errs, c.quorum.Close())
	} else {
		errs = append(errs, c.client.Close())
	}
	for _, rdb := range c.below {
		errs = append(errs, rdb.Close())
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
	var addrs []string
	for _, text := range r.URLs {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" {
			return fmt.Errorf("%w: %q is no URL of a server", errUsage, text)
		}
		addrs = append(addrs, u.Host)
	}
	if len(addrs) == 0 {
		return fmt.Errorf("%w: connect needs urls", errUsage)
	}
	connect := connectGoRedis
	if d.library == "rueidis" {
		connect = connectRueidis
	}
	c, err := connect(r, addrs, options)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.locks[r.Locks] = c
	return nil
}

func connectGoRedis(r *request, addrs []string, options []lock.ClientOption) (*connected, error) {
	var below []redis.UniversalClient
	switch r.Deployment {
	case "single":
		below = append(below, redis.NewClient(&redis.Options{Addr: addrs[0]}))
	case "sentinel":
		below = append(below, redis.NewFailoverClient(&redis.FailoverOptions{MasterName: r.Service, SentinelAddrs: addrs}))
	case "cluster":
		below = append(below, redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs}))
	case "quorum":
		for _, addr := range addrs {
			below = append(below, redis.NewClient(&redis.Options{Addr: addr}))
		}
		q, err := lock.NewQuorum(below, options...)
		return &connected{quorum: q, below: below}, err
	default:
		return nil, fmt.Errorf("%w: deployment %q", errUsage, r.Deployment)
	}
	c, err := lock.New(below[0], options...)
	return &connected{client: c, below: below}, err
}

func connectRueidis(r *request, addrs []string, options []lock.ClientOption) (*connected, error) {
	option := rueidis.ClientOption{InitAddress: addrs}
	switch r.Deployment {
	case "single":
		option.ForceSingleClient = true
	case "sentinel":
		option.Sentinel.MasterSet = r.Service
	case "cluster":
	case "quorum":
		var members []rueidis.ClientOption
		for _, addr := range addrs {
			members = append(members, rueidis.ClientOption{InitAddress: []string{addr}})
		}
		q, err := lockrueidis.NewQuorum(members, options...)
		return &connected{quorum: q}, err
	default:
		return nil, fmt.Errorf("%w: deployment %q", errUsage, r.Deployment)
	}
	c, err := lockrueidis.New(option, options...)
	return &connected{client: c}, err
}
