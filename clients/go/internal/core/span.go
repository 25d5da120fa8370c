package core

import "time"

// Span is how long a hold surely lasts, on the clock of [Now].
type Span struct {
	// Until is the moment at which it may have ended.
	Until time.Duration
	// Lease is what it was given last, and gets again at each renewal.
	Lease time.Duration
	// Bound is when its max ends it; 0 if it has none.
	Bound time.Duration
}

// NewSpan is the span of a grant whose request was sent at that time. The lease began at some time after that, so counting
// from there errs on the safe side.
func NewSpan(sent, lease, longest time.Duration) Span {
	s := Span{Lease: lease}
	if longest > 0 {
		s.Bound = sent + longest
	}
	s.set(sent + lease)
	return s
}

// Extend notes an extension that was sent at that time and succeeded. A later answer to an earlier one changes nothing.
func (s *Span) Extend(sent, lease time.Duration) {
	s.Lease = lease
	s.set(sent + lease)
}

// Check notes how much LOCK.CHECK said to be left. It was read by the server at some time between sent and received.
func (s *Span) Check(sent, received, left time.Duration) {
	switch {
	case received+left < s.Until: // Somebody made it shorter.
		s.set(sent + left)
	case sent+left > s.Until:
		s.set(sent + left)
	}
}

func (s *Span) set(until time.Duration) {
	if s.Bound > 0 {
		until = min(until, s.Bound)
	}
	s.Until = until
}

// Bounded says that the end is the one of max, and no renewal will put it off.
func (s *Span) Bounded() bool {
	return s.Bound > 0 && s.Until >= s.Bound
}

// RenewIn is how long after an extension the next one follows: a third of the lease, a little less at random, so that holds
// taken together are not renewed together for ever.
func (s *Span) RenewIn(chance float64) time.Duration {
	third := s.Lease / 3
	return third - time.Duration(chance*float64(third)/10)
}
