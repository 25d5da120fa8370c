package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// spinBelow is the length of a section up to which a client spins: a sleep would last longer than it is told.
const spinBelow = 2 * time.Millisecond

// measurement runs the clients of a job: acquire, hold, release, at once again.
type measurement struct {
	ctx      context.Context
	job      *Job
	clients  []*client
	line     line
	running  sync.WaitGroup
	gaveUp   atomic.Int64
	began    time.Time
	elapsed  time.Duration
	isOn     atomic.Bool // in the measured span
	pending  map[int]time.Duration
	failed   chan struct{}
	failOnce sync.Once
	failure  error
	failures atomic.Int64

	// What only the holder touches, and the lock alone protects. The counts are told at the end.
	holders    atomic.Int64
	violations atomic.Int64
	counter    int64 // without atomics on purpose
	// releasedAt is when the last holder called release, in nanoseconds since began.
	releasedAt atomic.Int64
}

// client is one of those who take the lock. Only its own goroutine touches it until all have ended.
type client struct {
	number    int
	lock      lock
	key       string
	total     int64
	grants    int64
	overtakes int64
	waits     []time.Duration
	handoffs  []time.Duration
	sections  time.Duration
}

// start connects the clients and lets them run.
func start(ctx context.Context, job *Job, system system) (*measurement, error) {
	m := &measurement{ctx: ctx, job: job, began: time.Now(), failed: make(chan struct{})}
	for n := range job.Clients {
		lock, err := system.client(ctx)
		if err != nil {
			return nil, err
		}
		key := job.Key
		if !job.contended() {
			key = fmt.Sprintf("%s:%d", job.Key, n)
		}
		m.clients = append(m.clients, &client{number: n, lock: lock, key: key})
	}
	for _, c := range m.clients {
		m.running.Go(func() { m.loop(c) })
	}
	return m, nil
}

func (m *measurement) loop(c *client) {
	for m.ctx.Err() == nil {
		if err := m.turn(c); err != nil {
			// Whoever was waiting at the end was told to give up, one way or another.
			if m.ctx.Err() == nil {
				m.fail(err)
			}
			return
		}
	}
}

// turn is one acquisition from the call to the end of the release.
func (m *measurement) turn(c *client) error {
	place := m.line.join(c.number, m.job.contended())
	release, err := m.acquire(c)
	granted := time.Now()
	overtook := m.line.leave(place)
	if err != nil {
		return err
	}
	c.total++
	isMeasured := m.isOn.Load()
	if isMeasured {
		c.grants++
		c.waits = append(c.waits, granted.Sub(place.began))
		if overtook {
			c.overtakes++
		}
		if m.job.contended() {
			if released := m.releasedAt.Load(); released > 0 {
				c.handoffs = append(c.handoffs, granted.Sub(m.began)-time.Duration(released))
			}
		}
	}
	if m.job.contended() {
		held := m.section()
		if isMeasured {
			c.sections += held
		}
		m.releasedAt.Store(int64(time.Since(m.began)))
	}
	if err := release(); err != nil {
		// What is released late, while all end, still has to go right: it tells whether the lock was held.
		return m.fail(fmt.Errorf("release: %w", err))
	}
	return nil
}

// acquire waits without limit, also where the library does not.
func (m *measurement) acquire(c *client) (func() error, error) {
	for {
		release, err := c.lock(m.ctx, c.key)
		if !errors.Is(err, errGaveUp) {
			return release, err
		}
		if m.ctx.Err() != nil {
			return nil, m.ctx.Err()
		}
		m.gaveUp.Add(1)
	}
}

// section holds the lock for as long as the job says, and looks whether somebody else does.
func (m *measurement) section() time.Duration {
	begin := time.Now()
	if m.holders.Add(1) != 1 {
		m.violations.Add(1)
	}
	seen := m.counter
	length := time.Duration(m.job.SectionUs) * time.Microsecond
	switch {
	case length >= spinBelow:
		time.Sleep(length)
	default:
		for time.Since(begin) < length {
		}
	}
	m.counter = seen + 1
	m.holders.Add(-1)
	return time.Since(begin)
}

// wait lets the clients run. False if one of them failed.
func (m *measurement) wait(length time.Duration) bool {
	select {
	case <-m.failed:
		return false
	case <-time.After(length):
		return true
	}
}

// measure takes figures for so long, or until a client fails.
func (m *measurement) measure(length time.Duration) {
	begin := time.Now()
	m.isOn.Store(true)
	m.wait(length)
	m.isOn.Store(false)
	m.elapsed = time.Since(begin)
	m.pending = m.line.ages()
}

func (m *measurement) fail(err error) error {
	m.failures.Add(1)
	m.failOnce.Do(func() {
		m.failure = err
		close(m.failed)
	})
	return err
}

func (m *measurement) error() error {
	select {
	case <-m.failed:
		return m.failure
	default:
		return nil
	}
}

// finish waits for the ends of all clients and adds up what they saw.
func (m *measurement) finish(result *Result) {
	m.running.Wait()
	var waits, handoffs []time.Duration
	var sections time.Duration
	for _, c := range m.clients {
		result.Grants += c.grants
		result.GrantsTotal += c.total
		result.PerClient = append(result.PerClient, c.grants)
		result.Overtakes += c.overtakes
		waits = append(waits, c.waits...)
		handoffs = append(handoffs, c.handoffs...)
		sections += c.sections
	}
	result.ElapsedS = m.elapsed.Seconds()
	result.GaveUp = m.gaveUp.Load()
	result.Pending = len(m.pending)
	result.Errors = m.failures.Load()
	result.Violations = m.violations.Load()
	if m.job.contended() {
		// Two that were in the section at once may have written the same number.
		if lost := result.GrantsTotal - m.counter; lost != 0 {
			result.Violations += max(lost, -lost)
		}
		handoff := quantiles(handoffs)
		result.HandoffUs = &handoff
		if result.Grants > 0 {
			result.SectionUsMean = us(sections) / float64(result.Grants)
		}
	}
	result.WaitUs = quantiles(waits)
	result.WaitByClientUs = m.waitsByClient()
	result.WaitUs.Max = max(result.WaitUs.Max, result.WaitByClientUs.Max)
}

// waitsByClient lets each client count the same, however often it was served, and the wait that it is still in count too.
func (m *measurement) waitsByClient() Times {
	var all []weighted
	for _, c := range m.clients {
		waits := c.waits
		if age, isWaiting := m.pending[c.number]; isWaiting {
			waits = append(waits, age)
		}
		for _, wait := range waits {
			all = append(all, weighted{wait, 1 / float64(len(waits))})
		}
	}
	return weightedQuantiles(all)
}
