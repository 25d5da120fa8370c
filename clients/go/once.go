package lock

import (
	"context"
	"errors"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
)

// Once is a job that runs once per period, however many machines try.
type Once struct {
	mutex  *Mutex
	period time.Duration
	err    error
}

// OncePer is the job of a key that runs once per period: 1 ms to 365 days. After a run nobody begins another one for nine
// tenths of the period, which leaves room for clocks that differ and for schedulers that are late.
func (c *Client) OncePer(key string, period time.Duration, options ...Option) *Once {
	o := &Once{mutex: c.Mutex(key, options...), period: period}
	if period <= 0 || period > core.LeaseMax {
		o.err = usage("the period must be above 0 and at most 365 days, not %v", period)
	}
	return o
}

// Do runs the job unless it runs elsewhere, or ran less than a period ago; ran says whether. If the job fails, or its process
// dies, another machine may run it at once. The context of the job ends with ctx, and when the lock is lost.
func (o *Once) Do(ctx context.Context, job func(ctx context.Context, h *Hold) error) (ran bool, err error) {
	if o.err != nil {
		return false, o.err
	}
	h, err := o.mutex.TryLock(ctx)
	if errors.Is(err, ErrNotAcquired) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	began := time.Now()
	working, cancel := h.With(ctx)
	defer cancel()
	done := false
	defer func() {
		if !done { // It panicked.
			_ = h.Unlock(ctx)
		}
	}()
	err = job(working, h)
	done = true
	if err != nil {
		return true, errors.Join(err, ignoreLost(h.Unlock(ctx)))
	}
	// The period began with the job.
	cool := o.period*9/10 - time.Since(began)
	if cool <= 0 {
		return true, h.Unlock(ctx)
	}
	return true, h.UnlockAndCool(ctx, cool)
}

// ignoreLost leaves out what the job's own error says already.
func ignoreLost(err error) error {
	if errors.Is(err, ErrNotHeld) {
		return nil
	}
	return err
}
