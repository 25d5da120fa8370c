package lock

import (
	"context"
	"errors"
	"sync"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
	"github.com/redis/go-redis/v9"
)

const (
	// A member has a tenth of the lease to answer, within these bounds.
	answerMin = 50 * time.Millisecond
	answerMax = 500 * time.Millisecond
)

// Quorum takes locks on which most of several independent servers agree (Redlock), with fences that rise. It works as long
// as most of them do, and forgets no grant as long as most of them forget nothing: a member that may have lost data must
// stay out for the longest lease in use (the server's setting start-quarantine), or run with appendfsync always.
type Quorum struct {
	options clientOptions
	prefix  string
	now     func() time.Duration
	members []*Client
	keeper  *keeper

	closing context.Context
	close   context.CancelCauseFunc

	contended contention
}

// NewQuorum makes a quorum of an odd number of servers, at least 3. Each is independent of the others: none is a replica of
// another one.
func NewQuorum(members []redis.UniversalClient, options ...ClientOption) (*Quorum, error) {
	var deployments []Deployment
	for _, rdb := range members {
		d, err := describe(rdb)
		if err != nil {
			return nil, err
		}
		deployments = append(deployments, d)
	}
	return OpenQuorum(deployments, options...)
}

// OpenQuorum makes a quorum of deployments. Users of go-redis call [NewQuorum].
func OpenQuorum(members []Deployment, options ...ClientOption) (*Quorum, error) {
	if len(members) < 3 || len(members)%2 == 0 {
		return nil, usage("a quorum has 3, 5, 7, ... members, not %d", len(members))
	}
	o, err := newClientOptions(options)
	if err != nil {
		return nil, err
	}
	prefix, err := core.OwnerPrefix(o.label)
	if err != nil {
		return nil, usage("%v", err)
	}
	q := &Quorum{options: o, prefix: prefix, now: members[0].Clock}
	if q.now == nil {
		q.now = clock()
	}
	q.closing, q.close = context.WithCancelCause(context.Background())
	for _, d := range members {
		c, err := Open(d, append(options, quietly)...)
		if err != nil {
			_ = q.Close()
			return nil, err
		}
		q.members = append(q.members, c)
	}
	q.keeper = newKeeper(q.now)
	q.keeper.renew = q.renewAll
	return q, nil
}

// quietly leaves hooks and tracking to the quorum.
func quietly(o *clientOptions) {
	o.hooks, o.noTracking, o.shareWaits = nil, true, false
}

// Mutex is the exclusive lock of a key on most members. Session, Durable, Delay and Max are not for quorums.
func (q *Quorum) Mutex(key string, options ...Option) *Mutex {
	all := append(append([]Option(nil), q.options.defaults...), options...)
	return &Mutex{q, newSpec(nil, []string{key}, all)}
}

// Close releases all holds and closes the connections. It takes a few seconds at most.
func (q *Quorum) Close() error {
	if q.closing.Err() != nil {
		return nil
	}
	q.close(ErrClosed)
	ctx, cancel := context.WithTimeout(context.Background(), closeMax)
	defer cancel()
	var closing sync.WaitGroup
	if q.keeper != nil {
		for _, h := range q.keeper.all() {
			closing.Add(1)
			go func() {
				defer closing.Done()
				if h.finish(LostClosed) {
					q.keeper.remove(h)
					_ = q.releaseAll(ctx, &h.request, h.stray)
				}
			}()
		}
		closing.Wait()
		q.keeper.close()
	}
	for _, member := range q.members {
		closing.Add(1)
		go func() {
			defer closing.Done()
			_ = member.Close()
		}()
	}
	closing.Wait()
	return nil
}

// ConnectionsOpened is how many connections were opened to all members so far.
func (q *Quorum) ConnectionsOpened() int64 {
	var opened int64
	for _, member := range q.members {
		opened += member.ConnectionsOpened()
	}
	return opened
}

func (q *Quorum) majority() int { return len(q.members)/2 + 1 }

// patience is how long a member may take to answer.
func patience(lease time.Duration) time.Duration {
	return min(max(lease/10, answerMin), answerMax)
}

// drift is how far the clocks of members may run apart during a lease.
func drift(lease time.Duration) time.Duration {
	return lease/100 + 2*time.Millisecond
}

func (q *Quorum) take(ctx context.Context, s spec, wait bool) (*Hold, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	if r := &s.request; r.Session || r.Delay > 0 || r.Max > 0 || s.durable > 0 {
		return nil, usage("Session, Durable, Delay and Max are not for quorums")
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	asking, cancel := context.WithCancelCause(ctx)
	defer cancel(context.Canceled)
	defer context.AfterFunc(q.closing, func() { cancel(ErrClosed) })()
	began := time.Now()
	h, err := q.ask(asking, ctx, s, wait, began)
	waited := time.Since(began)
	if err != nil {
		q.options.tell(func(hooks Hooks) {
			if hooks.Refused != nil {
				hooks.Refused(s.request.Name(), "", waited, err)
			}
		})
		return nil, err
	}
	q.options.tell(func(hooks Hooks) {
		if hooks.Acquired != nil {
			hooks.Acquired(s.request.Name(), h.Owner(), waited)
		}
	})
	return h, nil
}

// ask tries until a majority has granted the lock. If the lock is contended it stands in the queue of one member: whoever is
// granted there takes the others almost alone, so votes are seldom split.
func (q *Quorum) ask(ctx, caller context.Context, s spec, wait bool, began time.Time) (*Hold, error) {
	key := s.request.Keys[0]
	backoff := core.NewBackoff(5*time.Millisecond, max(20*time.Millisecond, min(time.Second, s.request.Lease/4)))
	gate := 0
	for {
		b := &ballot{quorum: q, spec: s, caller: caller, gate: -1}
		b.spec.request.Owner = core.NewOwner(q.prefix)
		if wait && q.contended.has(key) {
			b.gate = gate
		}
		h, err := b.run(ctx)
		if err == nil {
			return h, nil
		}
		switch {
		case errors.Is(context.Cause(ctx), ErrClosed):
			return nil, ErrClosed
		case ctx.Err() != nil:
			return nil, b.gaveUp(ctx, err, began)
		case errors.Is(err, ErrNotAcquired):
			q.contended.note(key)
		case !errors.Is(err, ErrNoQuorum):
			return nil, err
		}
		if !wait {
			return nil, err
		}
		if b.gateFailed {
			gate = (gate + 1) % len(q.members)
		}
		if !b.queueNext && !pause(ctx, backoff.Pause()) {
			return nil, b.gaveUp(ctx, err, began)
		}
	}
}

// renewAll extends holds that are due.
func (q *Quorum) renewAll(holds []*Hold) {
	for _, h := range holds {
		go func() {
			lease := h.lease()
			ctx, cancel := context.WithTimeout(q.closing, max(answerMin, lease/3))
			defer cancel()
			err := q.extendAll(ctx, h, lease)
			if errors.Is(err, ErrNotHeld) {
				q.lose(h, LostGone)
			} else if err == nil {
				q.options.tell(func(hooks Hooks) {
					if hooks.Renewed != nil {
						hooks.Renewed(h.request.Name(), h.Owner())
					}
				})
			}
			q.keeper.done(h, true, err == nil)
		}()
	}
}

// extendAll extends on all members. A majority must stand at the fence, or above it.
func (q *Quorum) extendAll(ctx context.Context, h *Hold, lease time.Duration) error {
	sent := q.now()
	answers := q.all(ctx, patience(lease), func(ctx context.Context, member *Client) error {
		// A member that came back empty gave a larger fence, and stands all the same.
		reply, _, err := member.execute(ctx, member.slot(h.Key()), h.request.Raise(h.Fence(), lease))
		return yes(reply, err)
	})
	if err := q.verdict(h.request.Keys, answers); err != nil {
		return err
	}
	h.extended(sent-drift(lease), lease)
	for i, err := range answers {
		if errors.Is(err, ErrNotHeld) {
			// It came back empty, or was late when the others agreed on the fence.
			go q.repair(h, q.members[i], lease)
		}
	}
	return nil
}

// repair lets a member take part again. A majority holds, so nobody else can.
func (q *Quorum) repair(h *Hold, member *Client, lease time.Duration) {
	ctx, cancel := context.WithTimeout(q.closing, patience(lease))
	defer cancel()
	s := spec{request: h.request}
	s.request.Lease = lease
	a := &attempt{client: member, spec: &s, slot: member.slot(h.Key()), began: time.Now()}
	if _, err := a.ask(ctx, false); err != nil {
		a.abandon()
		return
	}
	reply, _, err := member.execute(ctx, a.slot, h.request.Raise(h.Fence(), lease))
	if yes(reply, err) != nil || h.ended() {
		// It does not follow, or the hold was released meanwhile.
		a.abandon()
	}
}

func (h *Hold) ended() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reason != ""
}

// yes is nil for 1, ErrNotHeld for 0.
func yes(reply any, err error) error {
	if err != nil {
		return err
	}
	count, err := core.Count(reply)
	if err == nil && count == 0 {
		return ErrNotHeld
	}
	return err
}

// all asks all members at once. It waits until all have answered, or a majority and a little longer.
func (q *Quorum) all(ctx context.Context, limit time.Duration, ask func(context.Context, *Client) error) []error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answers := make([]error, len(q.members))
	var asking sync.WaitGroup
	for i, member := range q.members {
		asking.Add(1)
		go func() {
			defer asking.Done()
			answers[i] = ask(ctx, member)
		}()
	}
	asking.Wait()
	return answers
}

// verdict is what the majority said: nil for yes, ErrNotHeld for no; without one, a NoQuorumError.
func (q *Quorum) verdict(keys []string, answers []error) error {
	for _, said := range []error{nil, ErrNotHeld} {
		votes := 0
		for _, answer := range answers {
			if errors.Is(answer, said) {
				votes++
			}
		}
		if votes >= q.majority() {
			return said
		}
	}
	return &NoQuorumError{Keys: keys, Members: answers}
}

func (q *Quorum) extend(ctx context.Context, h *Hold, lease time.Duration) error {
	err := q.extendAll(ctx, h, lease)
	if errors.Is(err, ErrNotHeld) {
		q.lose(h, LostGone)
		return h.lost(LostGone)
	}
	if err == nil {
		q.keeper.moved(h)
	}
	return err
}

func (q *Quorum) check(ctx context.Context, h *Hold) (Check, error) {
	var mu sync.Mutex
	var result Check
	answers := q.all(ctx, patience(h.lease()), func(ctx context.Context, member *Client) error {
		command := append(h.request.Checks()[0], "WAITERS")
		reply, _, err := member.execute(ctx, member.slot(h.Key()), command)
		if err != nil {
			return err
		}
		check, held, err := core.ReadCheck(reply)
		if err == nil && (!held || check.Fence < h.Fence()) {
			return ErrNotHeld
		}
		mu.Lock()
		defer mu.Unlock()
		if result.ExpiresIn == 0 || check.TTL < result.ExpiresIn {
			result.ExpiresIn = check.TTL
		}
		result.Waiters = max(result.Waiters, check.Waiters)
		return err
	})
	err := q.verdict(h.request.Keys, answers)
	if errors.Is(err, ErrNotHeld) {
		q.lose(h, LostGone)
		return Check{}, h.lost(LostGone)
	}
	return result, err
}

func (q *Quorum) downgrade(context.Context, *Hold) error {
	return usage("a hold of a quorum cannot be downgraded")
}

func (q *Quorum) lose(h *Hold, reason string) {
	q.keeper.remove(h)
	if !h.finish(reason) {
		return
	}
	q.options.logger.Warn("a lock was lost", "lock", h.request.Name(), "owner", h.Owner(), "fence", h.Fence(), "reason", reason)
	q.options.tell(func(hooks Hooks) {
		if hooks.Lost != nil {
			hooks.Lost(h.request.Name(), h.Owner(), reason)
		}
	})
	// On a minority it may still stand.
	ctx, cancel := context.WithTimeout(context.Background(), patience(h.lease()))
	go func() {
		defer cancel()
		_ = q.releaseAll(ctx, &h.request, h.stray)
	}()
}

func (q *Quorum) release(ctx context.Context, h *Hold, cool time.Duration) error {
	if cool > 0 {
		return usage("a lock of a quorum cannot cool")
	}
	if h.ended() {
		return h.Err()
	}
	q.keeper.remove(h)
	if !h.finish(LostReleased) {
		return h.Err()
	}
	h.mu.Lock()
	reason := h.reason
	h.mu.Unlock()
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx) // It is in a defer, perhaps.
	}
	err := q.releaseAll(ctx, &h.request, h.stray)
	if reason != LostReleased || errors.Is(err, ErrNotHeld) {
		return h.lost(LostGone)
	}
	held := q.now() - h.grantedAt
	q.options.tell(func(hooks Hooks) {
		if hooks.Released != nil {
			hooks.Released(h.request.Name(), h.Owner(), held)
		}
	})
	return err
}

// releaseAll ends a hold on all members. Those that do not answer are told again in the background; all of them if an
// acquisition is stray: it may still arrive over a connection that was lost.
func (q *Quorum) releaseAll(ctx context.Context, request *core.Request, stray bool) error {
	answers := q.all(ctx, answerMax, func(ctx context.Context, member *Client) error {
		slot := member.slot(request.Keys[0])
		reply, sent, err := member.execute(ctx, slot, request.Release())
		if err != nil || stray {
			member.settle.begin()
			go func() {
				defer member.settle.end()
				again, cancel := context.WithTimeout(context.Background(), min(request.Lease, settleLease)+settleTime)
				defer cancel()
				member.repeat(again, slot, request.Release())
			}()
		}
		if answer := yes(reply, err); sent == 1 || !errors.Is(answer, ErrNotHeld) {
			return answer
		}
		return nil // The first reply was lost.
	})
	return q.verdict(request.Keys, answers)
}
