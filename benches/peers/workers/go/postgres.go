package main

import (
	"context"
	"hash/fnv"

	"github.com/jackc/pgx/v5"
)

const pgxModule = "github.com/jackc/pgx/v5"

var postgresAdvisory = peer{
	name: "postgres", row: "defaults", library: pgxModule, driver: pgxModule,
	settings: "pg_advisory_lock and pg_advisory_unlock, prepared, a connection for each client: such a lock belongs to its session",
	links:    []string{"https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS"},
	open: func(_ context.Context, job *Job) (system, error) {
		return &postgresSystem{job: job}, nil
	},
}

type postgresSystem struct {
	job         *Job
	connections []*pgx.Conn
}

func (p *postgresSystem) client(ctx context.Context) (lock, error) {
	connection, err := pgx.Connect(ctx, p.job.Postgres)
	if err != nil {
		return nil, err
	}
	p.connections = append(p.connections, connection)
	return func(ctx context.Context, key string) (func() error, error) {
		number := lockNumber(key)
		// The end of the context closes the connection, and the server takes it out of the line.
		if _, err := connection.Exec(ctx, "SELECT pg_advisory_lock($1)", number); err != nil {
			return nil, err
		}
		return func() error {
			var released bool
			err := connection.QueryRow(context.Background(), "SELECT pg_advisory_unlock($1)", number).Scan(&released)
			if err == nil && !released {
				return errNotHeld
			}
			return err
		}, nil
	}, nil
}

// lockNumber is what the lock is called in PostgreSQL.
func lockNumber(key string) int64 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(key))
	return int64(hash.Sum64())
}

func (p *postgresSystem) giveUp() {}

func (p *postgresSystem) close() error {
	for _, connection := range p.connections {
		_ = connection.Close(context.Background()) // Some were closed as their waits ended.
	}
	return nil
}
