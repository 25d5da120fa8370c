package main

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
)

const etcdModule = "go.etcd.io/etcd/client/v3"

var etcdMutex = peer{
	name: "etcd", row: "defaults", library: etcdModule, driver: etcdModule,
	settings: "concurrency.Mutex, a session of its own for each client over one connection, TTL 60 s; one member that writes to disk before it answers, as etcd does",
	links:    []string{"https://pkg.go.dev/go.etcd.io/etcd/client/v3/concurrency#Mutex"},
	open: func(_ context.Context, job *Job) (system, error) {
		config := clientv3.Config{Endpoints: []string{job.Etcd}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()}
		client, err := clientv3.New(config)
		if err != nil {
			return nil, err
		}
		return &etcdSystem{etcd: client}, nil
	},
}

type etcdSystem struct {
	etcd     *clientv3.Client
	sessions []*concurrency.Session
}

func (e *etcdSystem) client(ctx context.Context) (lock, error) {
	// A session takes the context of the connection and not ours: it must outlive the run until all is released.
	session, err := concurrency.NewSession(e.etcd)
	if err != nil {
		return nil, err
	}
	e.sessions = append(e.sessions, session)
	return func(ctx context.Context, key string) (func() error, error) {
		mutex := concurrency.NewMutex(session, key)
		if err := mutex.Lock(ctx); err != nil {
			return nil, err
		}
		return func() error { return mutex.Unlock(context.Background()) }, nil
	}, nil
}

func (e *etcdSystem) giveUp() {}

func (e *etcdSystem) close() error {
	var errs []error
	for _, session := range e.sessions {
		errs = append(errs, session.Close())
	}
	// What is left ends with its TTL, and the next job uses another key.
	return errors.Join(append(errs, e.etcd.Close())...)
}
