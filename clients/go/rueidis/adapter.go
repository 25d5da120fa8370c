// Package lockrueidis makes clients of the package lock from the options of rueidis.
//
//	c, err := lockrueidis.New(rueidis.ClientOption{InitAddress: []string{"localhost:6379"}}, lock.WithLabel("orders"))
package lockrueidis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	lock "example.com/redis-lock/clients/go"
	"github.com/redis/rueidis"
)

// New makes a client for the servers that the option describes: a server, Sentinels, or a Redis Cluster. It takes addresses,
// dialer, TLS, credentials, database and protocol from the option, and opens connections of its own. If the option names
// neither Sentinels nor a single server (ForceSingleClient), New asks the servers whether they are a cluster, as
// rueidis.NewClient does.
func New(option rueidis.ClientOption, options ...lock.ClientOption) (*lock.Client, error) {
	deployment, err := Describe(option)
	if err != nil {
		return nil, err
	}
	return lock.Open(deployment, options...)
}

// NewQuorum makes a quorum of single servers, one for each option.
func NewQuorum(members []rueidis.ClientOption, options ...lock.ClientOption) (*lock.Quorum, error) {
	var deployments []lock.Deployment
	for _, member := range members {
		member.ForceSingleClient = true
		deployment, err := Describe(member)
		if err != nil {
			return nil, err
		}
		deployments = append(deployments, deployment)
	}
	return lock.OpenQuorum(deployments, options...)
}

// Describe says where the servers of the option are.
func Describe(option rueidis.ClientOption) (lock.Deployment, error) {
	if len(option.InitAddress) == 0 {
		return lock.Deployment{}, fmt.Errorf("%w: the option has no InitAddress", lock.ErrUsage)
	}
	d := lock.Deployment{
		Dial:        func(ctx context.Context, addr string) (net.Conn, error) { return dial(ctx, addr, &option) },
		Credentials: credentials(&option),
		DB:          option.SelectDB,
		OldProtocol: option.AlwaysRESP2,
	}
	if option.Sentinel.MasterSet != "" {
		s := &sentinels{option: option, addrs: option.InitAddress}
		d.Addr, d.Moving = "primary "+option.Sentinel.MasterSet, true
		d.Dial = s.dial
		return d, nil
	}
	isCluster, err := asksCluster(option)
	if err != nil {
		return lock.Deployment{}, err
	}
	if isCluster {
		d.Cluster = option.InitAddress
	} else {
		d.Addr = option.InitAddress[0]
	}
	return d, nil
}

// asksCluster finds out as rueidis does.
func asksCluster(option rueidis.ClientOption) (bool, error) {
	if option.ForceSingleClient || option.Standalone.EnableRedirect || len(option.Standalone.ReplicaAddress) > 0 {
		return false, nil
	}
	client, err := rueidis.NewClient(option)
	if err != nil {
		return false, err
	}
	defer client.Close()
	return client.Mode() == rueidis.ClientModeCluster, nil
}

// dial connects as rueidis does.
func dial(ctx context.Context, addr string, option *rueidis.ClientOption) (net.Conn, error) {
	dialer := option.Dialer
	if dialer.Timeout == 0 {
		dialer.Timeout = rueidis.DefaultDialTimeout
	}
	switch {
	case option.DialCtxFn != nil:
		return option.DialCtxFn(ctx, addr, &dialer, option.TLSConfig)
	case option.DialFn != nil:
		return option.DialFn(addr, &dialer, option.TLSConfig)
	case option.TLSConfig != nil:
		secure := tls.Dialer{NetDialer: &dialer, Config: option.TLSConfig}
		return secure.DialContext(ctx, "tcp", addr)
	default:
		return dialer.DialContext(ctx, "tcp", addr)
	}
}

func credentials(option *rueidis.ClientOption) func(context.Context) (string, string, error) {
	switch {
	case option.AuthCredentialsFn != nil:
		return func(context.Context) (string, string, error) {
			found, err := option.AuthCredentialsFn(rueidis.AuthCredentialsContext{})
			return found.Username, found.Password, err
		}
	case option.Username == "" && option.Password == "":
		return nil
	default:
		return func(context.Context) (string, string, error) { return option.Username, option.Password, nil }
	}
}

// sentinels know the primary.
type sentinels struct {
	option rueidis.ClientOption

	mu    sync.Mutex
	addrs []string // The one that answered last comes first.
}

// answerMax is how long a Sentinel may take to answer.
const answerMax = time.Second

// dial connects to the primary of the moment.
func (s *sentinels) dial(ctx context.Context, _ string) (net.Conn, error) {
	s.mu.Lock()
	addrs := append([]string(nil), s.addrs...)
	s.mu.Unlock()
	var failures []error
	for i, addr := range addrs {
		primary, err := s.ask(ctx, addr)
		if err != nil {
			failures = append(failures, fmt.Errorf("sentinel %s: %w", addr, err))
			continue
		}
		if i > 0 {
			s.mu.Lock()
			s.addrs = append(append([]string(nil), addrs[i:]...), addrs[:i]...)
			s.mu.Unlock()
		}
		return dial(ctx, primary, &s.option)
	}
	return nil, errors.Join(failures...)
}

// ask asks one Sentinel for the primary.
func (s *sentinels) ask(ctx context.Context, addr string) (string, error) {
	limited, cancel := context.WithTimeout(ctx, answerMax)
	defer cancel()
	dialer := s.option.Sentinel.Dialer
	dialer.Timeout = answerMax
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress:       []string{addr},
		Dialer:            dialer,
		TLSConfig:         s.option.Sentinel.TLSConfig,
		Username:          s.option.Sentinel.Username,
		Password:          s.option.Sentinel.Password,
		DialFn:            s.option.DialFn,
		DialCtxFn:         s.option.DialCtxFn,
		AlwaysRESP2:       s.option.AlwaysRESP2,
		ConnWriteTimeout:  answerMax,
		ForceSingleClient: true,
		DisableCache:      true,
	})
	if err != nil {
		return "", err
	}
	defer client.Close()
	command := client.B().SentinelGetMasterAddrByName().Master(s.option.Sentinel.MasterSet).Build()
	address, err := client.Do(limited, command).AsStrSlice()
	if err != nil {
		return "", err
	}
	if len(address) != 2 {
		return "", fmt.Errorf("it does not know %s", s.option.Sentinel.MasterSet)
	}
	return net.JoinHostPort(address[0], address[1]), nil
}
