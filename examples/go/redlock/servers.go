package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"example.com/redis-lock/examples/go/redislock"
)

const (
	// A server has a tenth of the lease to answer, within these bounds.
	answerMin = 50 * time.Millisecond
	answerMax = 500 * time.Millisecond
)

// all asks all servers at once and answers what each said, by its number.
func (r *Redlock) all(ctx context.Context, lease time.Duration, ask func(ctx context.Context, i int) error) []error {
	ctx, cancel := context.WithTimeout(ctx, min(max(lease/10, answerMin), answerMax))
	defer cancel()
	answers := make([]error, len(r.servers))
	var asking sync.WaitGroup
	for i := range r.servers {
		asking.Go(func() { answers[i] = ask(ctx, i) })
	}
	asking.Wait()
	return answers
}

// verdict is what the majority said: nil for yes, [redislock.ErrBusy] or [redislock.ErrNotHeld] for no. Without one it is
// [ErrNoQuorum], with what went wrong at the others.
func verdict(answers []error) error {
	majority := len(answers)/2 + 1
	for _, said := range []error{nil, redislock.ErrBusy, redislock.ErrNotHeld} {
		votes := 0
		for _, answer := range answers {
			if errors.Is(answer, said) {
				votes++
			}
		}
		if votes >= majority {
			return said
		}
	}
	return errors.Join(append([]error{ErrNoQuorum}, answers...)...)
}

// validUntil is until when a lease that is asked for now surely lasts, if the clocks run apart by a hundredth at most.
func validUntil(lease time.Duration) time.Time {
	drift := lease/100 + 2*time.Millisecond
	return time.Now().Add(lease - drift)
}
