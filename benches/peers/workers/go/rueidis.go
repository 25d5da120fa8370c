package main

import (
	"context"
	"time"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"
)

const (
	rueidisModule = "github.com/redis/rueidis"
	rueidisLink   = "https://github.com/redis/rueidis/tree/main/rueidislock"
)

// tryNextAfter is how long a try may take. With the default, 20 ms, one stall of the machine or the server can make it wait for
// ever: the try is given up and its key removed, and nobody is told. With one key there is no next one to be tried after it,
// so a longer time costs nothing.
const tryNextAfter = time.Second

// serverAnswers is how long that takes at most.
const serverAnswers = 5 * time.Second

// Clients that share a Locker queue inside the process, and only one of them asks the server at a time. Clients of
// different processes cannot do that; the last row shows what the library does for them.
var rueidisRows = []peer{
	{
		name: "rueidislock", row: "defaults", library: rueidisModule, driver: rueidisModule,
		settings: "one Locker that all clients share; KeyMajority 1, as its README says for one server; TryNextAfter 1 s, because with its 20 ms a stall of the server makes it wait for ever; else its defaults",
		links:    []string{rueidisLink},
		open:     openRueidis(false, false),
	},
	{
		name: "rueidislock", row: "tuned", library: rueidisModule, driver: rueidisModule,
		settings: "one Locker that all clients share; KeyMajority 1, NoLoopTracking true, as its README and its own benchmark; TryNextAfter 1 s",
		links:    []string{rueidisLink},
		open:     openRueidis(true, false),
	},
	{
		name: "rueidislock", row: "tuned, a Locker each", library: rueidisModule, driver: rueidisModule,
		settings: "a Locker for each client, as clients in processes of their own have; KeyMajority 1, NoLoopTracking true, TryNextAfter 1 s",
		links:    []string{rueidisLink},
		open:     openRueidis(true, true),
	},
}

type rueidisSystem struct {
	options rueidislock.LockerOption
	isEach  bool
	lockers []rueidislock.Locker
}

func openRueidis(noLoop, isEach bool) func(context.Context, *Job) (system, error) {
	return func(_ context.Context, job *Job) (system, error) {
		options := rueidislock.LockerOption{
			ClientOption:   rueidis.ClientOption{InitAddress: []string{job.Redis}},
			KeyMajority:    1,
			NoLoopTracking: noLoop,
			TryNextAfter:   tryNextAfter,
		}
		return &rueidisSystem{options: options, isEach: isEach}, nil
	}
}

func (r *rueidisSystem) client(context.Context) (lock, error) {
	locker, err := r.locker()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, key string) (func() error, error) {
		// The library releases when the context ends, also in the middle of a section: so it ends for those who wait only.
		waiting, giveUp := context.WithCancel(context.Background())
		keep := context.AfterFunc(ctx, giveUp)
		held, release, err := locker.WithContext(waiting, key)
		if err != nil {
			giveUp()
			return nil, err
		}
		if !keep() {
			release()
			return nil, ctx.Err()
		}
		return func() error {
			defer giveUp()
			// It cancels what it gave out when the lock is lost.
			lost := held.Err()
			release()
			if lost != nil {
				return errNotHeld
			}
			return nil
		}, nil
	}, nil
}

// locker is a new one, or the one that is there.
func (r *rueidisSystem) locker() (rueidislock.Locker, error) {
	if !r.isEach && len(r.lockers) > 0 {
		return r.lockers[0], nil
	}
	locker, err := rueidislock.NewLocker(r.options)
	if err == nil {
		r.lockers = append(r.lockers, locker)
	}
	return locker, err
}

func (r *rueidisSystem) giveUp() {}

// close also asks whether the server is there: without it the library waits for it to come back, and says nothing.
func (r *rueidisSystem) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), serverAnswers)
	defer cancel()
	client := r.lockers[0].Client()
	err := client.Do(ctx, client.B().Ping().Build()).Error()
	for _, locker := range r.lockers {
		locker.Close()
	}
	return err
}
