package locktest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// state is a lock that is held or cools.
type state struct {
	holders []*holder // By fence.
	cooling time.Duration
}

type holder struct {
	owner         string
	fence         int64
	shared        bool
	limit, weight int
	lease         time.Duration
	since, until  time.Duration
	bound         time.Duration // 0: none.
	delay         time.Duration
	session       *conn
}

// request is what an owner asks for.
type request struct {
	keys          []string
	owner         string
	lease         time.Duration
	shared        bool
	limit, weight int
	longest       time.Duration
	delay         time.Duration
	session       bool
	several       bool
	waits         bool
	block         time.Duration // 0: without limit.
	conn          *conn
}

// waiter is a request in the queues of its keys.
type waiter struct {
	request
	since, deadline time.Duration
	answer          func(any)
}

func (h *holder) set(until time.Duration) {
	if h.bound > 0 {
		until = min(until, h.bound)
	}
	h.until = until
}

func (s *Server) state(key string) *state {
	if s.locks[key] == nil {
		s.locks[key] = &state{}
	}
	return s.locks[key]
}

func (s *Server) holderOf(key, owner string) *holder {
	state := s.locks[key]
	if state == nil {
		return nil
	}
	i := slices.IndexFunc(state.holders, func(h *holder) bool { return h.owner == owner })
	if i < 0 {
		return nil
	}
	return state.holders[i]
}

// end ends a hold. The lock cools for a while if cool is above 0.
func (s *Server) end(key string, state *state, h *holder, cool time.Duration) {
	state.holders = slices.DeleteFunc(state.holders, func(other *holder) bool { return other == h })
	if cool > 0 {
		state.cooling = s.clock() + cool
	}
	s.dropIfFree(key)
	s.changed(key)
}

func (s *Server) dropIfFree(key string) {
	if state := s.locks[key]; state != nil && len(state.holders) == 0 && state.cooling <= s.clock() {
		delete(s.locks, key)
	}
}

// settle ends what is over, and grants what can be granted, first come, first served.
func (s *Server) settle() {
	now := s.clock()
	for key, state := range s.locks {
		for _, h := range slices.Clone(state.holders) {
			if h.until <= now {
				s.end(key, state, h, h.delay)
			}
		}
		s.dropIfFree(key)
	}
	kept := s.waiters[:0:0]
	occupied := map[string]bool{}
	for _, w := range s.waiters {
		switch {
		case w.deadline > 0 && w.deadline <= now:
			w.answer(nil)
		case !slices.ContainsFunc(w.keys, func(key string) bool { return occupied[key] }) && s.fits(&w.request):
			w.answer(s.grant(&w.request))
		default:
			kept = append(kept, w)
			for _, key := range w.keys {
				occupied[key] = true
			}
		}
	}
	s.waiters = kept
	s.arm(now)
}

// arm sets the timer to what is due next.
func (s *Server) arm(now time.Duration) {
	next := now + time.Hour
	for _, state := range s.locks {
		if state.cooling > now {
			next = min(next, state.cooling)
		}
		for _, h := range state.holders {
			next = min(next, h.until)
		}
	}
	for _, w := range s.waiters {
		if w.deadline > 0 {
			next = min(next, w.deadline)
		}
	}
	s.timer.Reset(next - now)
}

// fits says whether the holders let the request in.
func (s *Server) fits(r *request) bool {
	for _, key := range r.keys {
		if len(s.inTheWay(r, key)) > 0 {
			return false
		}
		if state := s.locks[key]; state != nil && state.cooling > s.clock() {
			return false
		}
	}
	return true
}

// inTheWay are the holders of a key that do not let the request in. The owner's own hold does.
func (s *Server) inTheWay(r *request, key string) []*holder {
	state := s.locks[key]
	if state == nil || s.holderOf(key, r.owner) != nil {
		return nil
	}
	units, limit := r.weight, r.limit
	for _, h := range state.holders {
		if !r.shared || !h.shared {
			return state.holders
		}
		units += h.weight
		if h.limit > 0 && (limit == 0 || h.limit < limit) {
			limit = h.limit
		}
	}
	if limit > 0 && units > limit {
		return state.holders
	}
	return nil
}

// grant gives all keys to the owner, or reacquires them. The reply is that of the command.
func (s *Server) grant(r *request) any {
	now := s.clock()
	var fences []any
	for _, key := range r.keys {
		h := s.holderOf(key, r.owner)
		if h == nil {
			s.fence = max(s.fence+1, time.Now().UnixMicro())
			h = &holder{
				owner: r.owner, fence: s.fence, shared: r.shared, limit: r.limit, weight: r.weight, since: now, delay: r.delay,
			}
			if r.longest > 0 {
				h.bound = now + r.longest
			}
			state := s.state(key)
			state.holders = append(state.holders, h)
			s.changed(key)
		}
		h.lease = r.lease
		h.set(max(h.until, now+r.lease))
		h.session = nil
		if r.session {
			h.session = r.conn
		}
		fences = append(fences, h.fence)
	}
	if r.several {
		return fences
	}
	return fences[0]
}

// acquire grants, refuses, or lets wait.
func (s *Server) acquire(r *request, answer func(any)) {
	for _, key := range r.keys {
		if h := s.holderOf(key, r.owner); h != nil && h.shared && !r.shared {
			answer(failure("ERR this owner holds the lock shared, release it first to ask for the exclusive hold"))
			return
		}
	}
	holdsAll := !slices.ContainsFunc(r.keys, func(key string) bool { return s.holderOf(key, r.owner) == nil })
	if holdsAll || !s.isQueued(r.keys) && s.fits(r) {
		answer(s.grant(r))
		s.settle()
		return
	}
	if !r.waits {
		answer(nil)
		return
	}
	if cycle := s.cycle(r); cycle != "" {
		answer(failure("DEADLOCK waiting would close a cycle: " + cycle))
		return
	}
	w := &waiter{request: *r, since: s.clock(), answer: answer}
	if r.block > 0 {
		w.deadline = w.since + r.block
	}
	s.waiters = append(s.waiters, w)
	s.settle()
}

func (s *Server) isQueued(keys []string) bool {
	return slices.ContainsFunc(s.waiters, func(w *waiter) bool {
		return slices.ContainsFunc(w.keys, func(key string) bool { return slices.Contains(keys, key) })
	})
}

// edge says that an owner waits for another one at a lock.
type edge struct{ owner, waitsFor, key string }

// edges are whom a request waits for: the holders in its way, and the waiter just before it.
func (s *Server) edges(r *request, before []*waiter) []edge {
	if r.limit > 1 {
		return nil
	}
	var edges []edge
	for _, key := range r.keys {
		for _, h := range s.inTheWay(r, key) {
			edges = append(edges, edge{r.owner, h.owner, key})
		}
		for _, w := range slices.Backward(before) {
			if slices.Contains(w.keys, key) {
				if w.owner != r.owner {
					edges = append(edges, edge{r.owner, w.owner, key})
				}
				break
			}
		}
	}
	return edges
}

// cycle is the cycle that a wait would close, or "".
func (s *Server) cycle(r *request) string {
	var search func(from []edge, seen map[string]bool) []edge
	search = func(from []edge, seen map[string]bool) []edge {
		for _, e := range from {
			if e.waitsFor == r.owner {
				return []edge{e}
			}
			if seen[e.waitsFor] {
				continue
			}
			seen[e.waitsFor] = true
			for i, w := range s.waiters {
				if w.owner != e.waitsFor {
					continue
				}
				if rest := search(s.edges(&w.request, s.waiters[:i]), seen); rest != nil {
					return append([]edge{e}, rest...)
				}
			}
		}
		return nil
	}
	var parts []string
	for _, e := range search(s.edges(r, s.waiters), map[string]bool{}) {
		parts = append(parts, fmt.Sprintf("%s waits for %s (lock %s)", quote(e.owner), quote(e.waitsFor), quote(e.key)))
	}
	return strings.Join(parts, ", ")
}

// quote shortens as the server does.
func quote(name string) string {
	const most = 24
	if len(name) > most {
		return "'" + name[:most] + "'..."
	}
	return "'" + name + "'"
}

// withdraw ends the waits of an owner for a key.
func (s *Server) withdraw(key, owner string) {
	s.waiters = slices.DeleteFunc(s.waiters, func(w *waiter) bool {
		if w.owner != owner || !slices.Contains(w.keys, key) {
			return false
		}
		w.answer(nil)
		return true
	})
}
