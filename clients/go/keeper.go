package lock

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"

	"example.com/redis-lock/clients/go/internal/wire"
)

const (
	// watchAfter is how old a hold is when the server is asked to tell of its loss. Most holds are over before that.
	watchAfter = 30 * time.Millisecond
	// recheckEvery is how often holds of one lock look again when the lock changes all the time.
	recheckEvery = 40 * time.Millisecond
	// roundUp joins renewals that are due within this time, so that they go out together.
	roundUp = 10 * time.Millisecond
	// lookEvery is how often the loop looks at the clock, because timers may stand still while the machine sleeps.
	lookEvery = time.Second
)

// keeper renews all holds of a client and notices their loss. One loop serves all. It never waits for a server itself.
type keeper struct {
	now func() time.Duration
	// renew and check do that for several holds, and call done for each.
	renew, check func(holds []*Hold)
	watches      bool // Whether check is worth while.

	mu      sync.Mutex
	heap    holdHeap
	byKey   map[string]map[*Hold]struct{}
	wake    chan struct{}
	asleep  time.Duration // Until when the loop sleeps.
	running bool
	stop    chan struct{}
}

func newKeeper(now func() time.Duration) *keeper {
	return &keeper{now: now, byKey: map[string]map[*Hold]struct{}{}, wake: make(chan struct{}, 1), stop: make(chan struct{})}
}

// add takes over a new hold.
func (k *keeper) add(h *Hold) {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if h.renews {
		h.renewAt = now + h.span.RenewIn(rand.Float64())
	}
	if k.watches {
		h.checkAt = now + watchAfter
		for _, key := range h.request.Keys {
			if k.byKey[key] == nil {
				k.byKey[key] = map[*Hold]struct{}{}
			}
			k.byKey[key][h] = struct{}{}
		}
	}
	h.queued = true
	h.next = k.nextOf(h)
	heap.Push(&k.heap, h)
	if !k.running {
		k.running = true
		go k.run()
	}
	k.wakeFor(h.next)
}

// remove forgets a hold.
func (k *keeper) remove(h *Hold) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !h.queued {
		return
	}
	h.queued = false
	heap.Remove(&k.heap, h.index)
	if !k.watches {
		return
	}
	for _, key := range h.request.Keys {
		delete(k.byKey[key], h)
		if len(k.byKey[key]) == 0 {
			delete(k.byKey, key)
		}
	}
}

// all are the holds of the moment.
func (k *keeper) all() []*Hold {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]*Hold(nil), k.heap...)
}

// close ends the loop.
func (k *keeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.stop:
	default:
		close(k.stop)
	}
}

// changed says that the server told of changes of these locks; nil: of any.
func (k *keeper) changed(keys []string) {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if keys == nil {
		for _, h := range k.heap {
			k.recheck(h, now)
		}
	}
	for _, key := range keys {
		holds := k.byKey[key]
		at := now
		if len(holds) > 1 {
			at += recheckEvery
		}
		for h := range holds {
			k.recheck(h, at)
		}
	}
}

// unwatched says that the server no longer tells of changes over this connection. Not all holds look at once.
func (k *keeper) unwatched(conn *wire.Conn) {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	spread := 50*time.Millisecond + time.Duration(len(k.heap))*100*time.Microsecond
	for _, h := range k.heap {
		if h.watched == conn {
			h.watched = nil
			k.recheck(h, now+rand.N(spread))
		}
	}
}

func (k *keeper) recheck(h *Hold, at time.Duration) {
	if h.checkAt == 0 || at < h.checkAt {
		h.checkAt = at
		k.fix(h)
	}
}

// done takes back a hold that was renewed or checked. If that failed, it is tried again soon; a hold that was renewed is
// renewed again after a third of its lease.
func (k *keeper) done(h *Hold, renewed, ok bool) {
	now := k.now()
	h.mu.Lock()
	renewIn := h.span.RenewIn(rand.Float64())
	h.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	h.busy = false
	switch {
	case !ok:
		again := now + pauseAfter(h.failures)
		h.failures++
		if renewed {
			h.renewAt = again
		} else {
			h.checkAt = again
		}
	case renewed:
		h.failures = 0
		h.renewAt = now + renewIn
	default:
		h.failures = 0
	}
	k.fix(h)
}

// pauseAfter grows from 50 ms to 2 s, with jitter.
func pauseAfter(failures int) time.Duration {
	limit := min(50*time.Millisecond<<min(failures, 6), 2*time.Second)
	return limit/4 + rand.N(limit)
}

// moved says that the hold was given another lease by its user.
func (k *keeper) moved(h *Hold) {
	now := k.now()
	h.mu.Lock()
	renewIn := h.span.RenewIn(rand.Float64())
	h.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if h.renews {
		h.renewAt = now + renewIn
	}
	k.fix(h)
}

func (k *keeper) fix(h *Hold) {
	if !h.queued {
		return
	}
	h.next = k.nextOf(h)
	heap.Fix(&k.heap, h.index)
	k.wakeFor(h.next)
}

func (k *keeper) wakeFor(at time.Duration) {
	if at < k.asleep {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// nextOf is when something is due for the hold.
func (k *keeper) nextOf(h *Hold) time.Duration {
	h.mu.Lock()
	next := h.span.Until
	h.mu.Unlock()
	if h.busy {
		return next
	}
	if h.renewAt > 0 {
		next = min(next, h.renewAt)
	}
	if h.checkAt > 0 {
		next = min(next, h.checkAt)
	}
	return next
}

func (k *keeper) run() {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		k.mu.Lock()
		k.asleep = 0 // Nobody needs to wake it now.
		k.mu.Unlock()
		renew, check, late := k.due()
		for _, h := range late {
			h.loseByClock()
		}
		if len(renew) > 0 {
			go k.renew(renew)
		}
		if len(check) > 0 {
			go k.check(check)
		}
		now := k.now()
		k.mu.Lock()
		pause := lookEvery
		if len(k.heap) > 0 {
			pause = min(pause, k.heap[0].next-now)
		}
		k.asleep = now + pause
		k.mu.Unlock()
		timer.Reset(max(pause, 100*time.Microsecond))
		select {
		case <-timer.C:
		case <-k.wake:
		case <-k.stop:
			return
		}
	}
}

// due takes what is due. It is put off until done is called.
func (k *keeper) due() (renew, check, late []*Hold) {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.heap) > 0 && k.heap[0].next <= now+roundUp {
		h := k.heap[0]
		h.mu.Lock()
		until := h.span.Until
		h.mu.Unlock()
		switch {
		case until <= now:
			late = append(late, h)
			h.next = now + lookEvery // It is removed before that.
		case h.next > now && h.next == until:
			return renew, check, late // It ends soon, but not yet.
		case !h.busy && h.renewAt > 0 && h.renewAt <= now+roundUp:
			h.busy = true
			renew = append(renew, h)
			h.next = until
		case !h.busy && h.checkAt > 0 && h.checkAt <= now+roundUp:
			h.busy, h.checkAt = true, 0
			check = append(check, h)
			h.next = until
		default:
			h.next = k.nextOf(h)
			if h.next <= now+roundUp {
				h.next = now + roundUp
				heap.Fix(&k.heap, h.index)
				return renew, check, late
			}
		}
		heap.Fix(&k.heap, h.index)
	}
	return renew, check, late
}

// holdHeap has the hold first for which something is due first.
type holdHeap []*Hold

func (q holdHeap) Len() int           { return len(q) }
func (q holdHeap) Less(i, j int) bool { return q[i].next < q[j].next }
func (q holdHeap) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *holdHeap) Push(x any) {
	h, _ := x.(*Hold)
	h.index = len(*q)
	*q = append(*q, h)
}
func (q *holdHeap) Pop() any {
	last := len(*q) - 1
	h := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return h
}
