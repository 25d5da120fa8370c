package core

import (
	"sync"
	"time"
)

var fallback = newTwoClocks(time.Now)

// twoClocks goes by the monotonic clock and by the wall clock, whichever went further. The monotonic clock may stand still
// while the machine sleeps. A wall clock that is set ahead ends holds too early, which is the safe side.
type twoClocks struct {
	read func() time.Time

	mu    sync.Mutex
	last  time.Time
	total time.Duration
}

func newTwoClocks(read func() time.Time) *twoClocks {
	return &twoClocks{read: read, last: read()}
}

func (c *twoClocks) now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.read()
	monotonic := now.Sub(c.last)
	wall := now.Round(0).Sub(c.last.Round(0))
	c.total += max(monotonic, wall, 0)
	c.last = now
	return c.total
}
