package redislock

import (
	"context"
	"errors"
	"time"
)

// retryMax is how soon an extension that failed is tried again, at the latest.
const retryMax = 200 * time.Millisecond

// Extender extends a hold: until when it is surely held now, by this process's clock, reckoned from before it asked.
type Extender func(ctx context.Context) (until time.Time, err error)

// Renew extends a hold after every third of its lease until ctx ends; it is surely held until then already.
// It returns the context to work under. That ends with ctx, or, with [ErrNotHeld] as its cause, at the moment when the hold
// is lost: an extension was refused, or none succeeded in time.
func Renew(ctx context.Context, until time.Time, lease time.Duration, extend Extender) context.Context {
	working, lose := context.WithCancelCause(ctx)
	// Tells the loss in time, whatever an extension is waiting for.
	end := time.AfterFunc(time.Until(until), func() { lose(ErrNotHeld) })
	go func() {
		defer end.Stop()
		pause := lease / 3
		for {
			select {
			case <-working.Done():
				return
			case <-time.After(pause):
			}
			attempt, cancel := context.WithTimeout(working, lease/3)
			renewed, err := extend(attempt)
			cancel()
			switch {
			case err == nil:
				end.Reset(time.Until(renewed))
				pause = lease / 3
			case errors.Is(err, ErrNotHeld):
				lose(ErrNotHeld)
			default: // It may still be held, and there is time to try again.
				pause = min(lease/10, retryMax)
			}
		}
	}()
	return working
}
