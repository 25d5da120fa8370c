package core

import (
	"math/rand/v2"
	"time"
)

// Backoff gives growing pauses with jitter.
type Backoff struct {
	next, most time.Duration
}

// NewBackoff begins with pauses of up to first, and doubles that up to most.
func NewBackoff(first, most time.Duration) *Backoff {
	return &Backoff{first, most}
}

// Pause is the next pause: between a quarter of the present limit and all of it.
func (b *Backoff) Pause() time.Duration {
	limit := b.next
	b.next = min(b.most, b.next*2)
	if faultNoJitter() {
		return time.Millisecond
	}
	return limit/4 + rand.N(limit-limit/4)
}
