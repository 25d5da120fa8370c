package lock

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
)

// ballot is one attempt to take a lock of a quorum, under an owner of its own.
type ballot struct {
	quorum *Quorum
	spec   spec
	caller context.Context //nolint:containedctx // Its values go into the context of the hold.
	// gate is the member in whose queue it stands first; -1 if it asks all at once.
	gate       int
	gateFailed bool
	// queueNext says that it is worth while to queue at once.
	queueNext bool
	// decided is closed when run has ended; then hold is what it returned.
	decided chan struct{}
	hold    *Hold
}

// vote is what came of asking one member.
type vote struct {
	member int
	asked  *attempt
	fence  int64
	err    error
}

// run returns a hold, or an error that matches ErrNotAcquired or ErrNoQuorum if another attempt may do better.
func (b *ballot) run(ctx context.Context) (*Hold, error) {
	b.decided = make(chan struct{})
	defer close(b.decided)
	lease := b.spec.request.Lease
	began := b.quorum.now()
	votes := make([]vote, 0, len(b.quorum.members))
	if b.gate >= 0 {
		first, ok := b.queue(ctx)
		if !ok {
			b.gateFailed = ctx.Err() == nil && !errors.Is(first.err, context.DeadlineExceeded)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
		} else {
			votes = append(votes, first)
		}
	}
	votes = b.collect(ctx, votes)
	err := b.verdict(votes)
	if err == nil && b.gate >= 0 {
		began = b.quorum.now() // All leases start anew when the members agree on a fence.
	}
	var fence int64
	if err == nil {
		fence, err = b.agree(ctx, votes)
	}
	h := newHold(b.caller, b.quorum, b.quorum.now, &b.spec, []int64{fence}, core.NewSpan(began-drift(lease), lease, 0))
	if err == nil && !h.Held() {
		err = b.noQuorum(votes)
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		h.finish(LostReleased)
		for _, v := range votes {
			b.giveBack(v)
		}
		return nil, err
	}
	for _, v := range votes {
		h.stray = h.stray || v.asked.stray
	}
	b.hold = h
	b.quorum.keeper.add(h)
	return h, nil
}

// giveBack releases a vote.
func (b *ballot) giveBack(v vote) {
	if v.fence == 0 {
		return
	}
	c, request := v.asked.client, b.spec.request
	c.settle.begin()
	go func() {
		defer c.settle.end()
		ctx, cancel := context.WithTimeout(context.Background(), min(request.Lease, settleLease)+settleTime)
		defer cancel()
		if v.asked.stray {
			c.repeat(ctx, v.asked.slot, request.Release())
			return
		}
		ctx, stop := c.withClosing(ctx)
		defer stop()
		_, _, _ = c.execute(ctx, v.asked.slot, request.Release())
	}()
}

// queue stands in the queue of the gate for about a lease. Then it is worth while to see what the other members say.
func (b *ballot) queue(ctx context.Context) (vote, bool) {
	limit := max(b.spec.request.Lease, time.Second)
	limited, cancel := context.WithTimeout(ctx, limit+rand.N(limit/4))
	defer cancel()
	v := b.askMember(limited, b.gate, true)
	return v, v.err == nil
}

func (b *ballot) askMember(ctx context.Context, i int, wait bool) vote {
	member := b.quorum.members[i]
	s := b.spec
	a := &attempt{client: member, spec: &s, slot: member.slot(s.request.Keys[0]), wait: wait, began: time.Now()}
	fences, err := a.ask(ctx, wait)
	if err != nil {
		if !errors.Is(err, errTaken) {
			err = a.gaveUp(ctx, err)
		}
		a.abandon()
		return vote{member: i, asked: a, err: err}
	}
	a.giveBack()
	return vote{member: i, asked: a, fence: fences[0]}
}

// collect asks the members that have no vote yet, until all have answered or a majority has granted the lock.
func (b *ballot) collect(ctx context.Context, votes []vote) []vote {
	q := b.quorum
	// A late vote still counts, so the end of the acquisition does not end it.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience(b.spec.request.Lease))
	cast := make(chan vote, len(q.members))
	// Who was first at the gate waits for those that the last holder is about to release.
	asked, waits := 0, len(votes) > 0
	for i := range q.members {
		if slices.ContainsFunc(votes, func(v vote) bool { return v.member == i }) {
			continue
		}
		asked++
		go func() { cast <- b.askMember(limited, i, waits) }()
	}
	granted := len(votes)
	for open := asked; open > 0; open-- {
		select {
		case v := <-cast:
			votes = append(votes, v)
			if v.fence > 0 {
				granted++
			}
			if granted >= q.majority() && open > 1 {
				// The others may still vote, but nobody waits for them.
				go b.late(cast, open-1, cancel)
				return votes
			}
		case <-ctx.Done():
			go b.late(cast, open, cancel)
			return votes
		}
	}
	cancel()
	return votes
}

// late takes votes that nobody waits for. They stay with the others as long as the hold lasts.
func (b *ballot) late(cast <-chan vote, count int, done context.CancelFunc) {
	defer done()
	for range count {
		v := <-cast
		<-b.decided
		// An Unlock may have asked the member before the vote came.
		if b.hold == nil || b.hold.ended() {
			b.giveBack(v)
		}
	}
}

// verdict is nil if a majority granted the lock.
func (b *ballot) verdict(votes []vote) error {
	q, keys := b.quorum, b.spec.request.Keys
	granted, taken := 0, 0
	refused := map[string][]error{}
	for _, v := range votes {
		var said *ServerError
		switch {
		case v.fence > 0:
			granted++
		case errors.Is(v.err, errTaken), errors.Is(v.err, ErrNotAcquired):
			taken++
		case errors.As(v.err, &said) && (&core.Refusal{Text: said.Text}).Class() != core.Passing:
			refused[said.Code()] = append(refused[said.Code()], said)
		}
	}
	for _, errs := range refused {
		if len(errs) >= q.majority() {
			return errs[0] // They agree, and will not think better of it.
		}
	}
	switch {
	case granted >= q.majority():
		return nil
	case granted+taken >= q.majority():
		b.queueNext = b.gate < 0
		return &NotAcquiredError{Keys: keys}
	}
	return b.noQuorum(votes)
}

func (b *ballot) noQuorum(votes []vote) *NoQuorumError {
	answers := make([]error, len(b.quorum.members))
	for _, v := range votes {
		answers[v.member] = v.err
	}
	return &NoQuorumError{Keys: b.spec.request.Keys, Members: answers}
}

// agree brings a majority to one fence: the largest that a member gave. Every later majority shares a member with this one,
// and that member's next fence is larger. So fences rise from hold to hold.
//
// Members refuse to follow one whose clock is too far ahead of theirs. If that leaves no majority at its fence, the largest
// of the others will do as well.
func (b *ballot) agree(ctx context.Context, votes []vote) (int64, error) {
	q, lease := b.quorum, b.spec.request.Lease
	fences := make([]int64, len(q.members))
	for _, v := range votes {
		fences[v.member] = v.fence
	}
	for {
		fence := slices.Max(fences)
		if fence == 0 {
			return 0, b.noQuorum(votes)
		}
		said := q.all(ctx, patience(lease), func(ctx context.Context, member *Client) error {
			i := slices.Index(q.members, member)
			switch {
			case fences[i] == 0:
				return ErrNotHeld
			case fences[i] == fence && b.gate < 0:
				return nil
			}
			reply, _, err := member.execute(ctx, member.slot(b.spec.request.Keys[0]), b.spec.request.Raise(fence, lease))
			return yes(reply, err)
		})
		agreed := 0
		for _, err := range said {
			if err == nil {
				agreed++
			}
		}
		if agreed >= q.majority() {
			return fence, nil
		}
		for i := range fences {
			if fences[i] == fence {
				fences[i] = 0 // It stands too high for what is left, or did not answer.
			}
		}
	}
}

// gaveUp is the error for the caller when the time is over.
func (b *ballot) gaveUp(ctx context.Context, last error, began time.Time) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.Cause(ctx)
	}
	var none *NoQuorumError
	if errors.As(last, &none) {
		none.cause = context.DeadlineExceeded
		return none
	}
	return &NotAcquiredError{Keys: b.spec.request.Keys, Waited: time.Since(began), cause: context.DeadlineExceeded}
}
