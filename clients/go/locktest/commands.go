package locktest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// args are what is left of a command's words.
type args []string

func (a *args) next() string {
	if len(*a) == 0 {
		return ""
	}
	word := (*a)[0]
	*a = (*a)[1:]
	return word
}

func (a *args) number() (int64, error) {
	word := a.next()
	number, err := strconv.ParseInt(word, 10, 64)
	if err != nil || number < 0 {
		return 0, fmt.Errorf("ERR %q is not a number", word)
	}
	return number, nil
}

func (a *args) span() (time.Duration, error) {
	number, err := a.number()
	return time.Duration(number) * time.Millisecond, err
}

var errSyntax = errors.New("ERR syntax error")

// execute runs a command. answer is called once, perhaps later.
func (s *Server) execute(c *conn, words []string, answer func(any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, rest := strings.ToUpper(words[0]), args(words[1:])
	if !strings.HasPrefix(name, "LOCK.") {
		answer(s.ordinary(c, name, rest))
		return
	}
	if s.failure != "" {
		answer(failure(s.failure))
		return
	}
	s.settle()
	if name == "LOCK.ACQUIRE" || name == "LOCK.MACQUIRE" {
		r, err := parseAcquire(&rest, name == "LOCK.MACQUIRE")
		if err != nil {
			answer(failure(err.Error()))
			return
		}
		r.conn = c
		s.acquire(r, answer)
		return
	}
	reply, err := s.atOnce(c, name, rest)
	if err != nil {
		reply = failure(err.Error())
	}
	s.settle()
	answer(reply)
}

// ordinary are the commands with which a client begins, and PING.
func (s *Server) ordinary(c *conn, name string, rest args) any {
	first := strings.ToUpper(rest.next())
	switch name {
	case "HELLO":
		return []any{"server", "locktest", "proto", 3, "id", c.id}
	case "CLIENT":
		if first == "TRACKING" {
			c.tracks = strings.EqualFold(rest.next(), "ON")
		}
		return status("OK")
	case "PING":
		return status("PONG")
	case "AUTH", "SELECT", "ASKING":
		return status("OK")
	case "WAIT":
		return 0
	}
	return failure("ERR unknown command '" + name + "'")
}

func (s *Server) atOnce(c *conn, name string, rest args) (any, error) {
	switch name {
	case "LOCK.RELEASE":
		return s.release(rest.next(), rest.next(), rest)
	case "LOCK.EXTEND":
		return s.extend(rest.next(), rest.next(), rest)
	case "LOCK.MRELEASE", "LOCK.MEXTEND":
		keys, err := parseKeys(&rest)
		if err != nil {
			return nil, err
		}
		owner := rest.next()
		count := 0
		for _, key := range keys {
			one := s.release
			if name == "LOCK.MEXTEND" {
				one = s.extend
			}
			held, err := one(key, owner, slices.Clone(rest))
			if err != nil {
				return nil, err
			}
			count += held
		}
		return count, nil
	case "LOCK.CHECK":
		key := rest.next()
		c.watch(key)
		return s.check(key, rest.next(), len(rest) > 0), nil
	case "LOCK.INFO":
		key := rest.next()
		c.watch(key)
		return s.info(key), nil
	case "LOCK.LIST":
		return s.list(rest)
	case "LOCK.TOP":
		return s.top(), nil
	}
	return nil, fmt.Errorf("ERR unknown command '%s'", name)
}

func (c *conn) watch(key string) {
	if c.tracks {
		c.watched[key] = true
	}
}

func parseKeys(rest *args) ([]string, error) {
	count, err := rest.number()
	if err != nil || count < 1 || count > 64 || int(count) >= len(*rest) {
		return nil, errors.New("ERR numkeys must be a number from 1 to 64")
	}
	var keys []string
	for range count {
		keys = append(keys, rest.next())
	}
	return keys, nil
}

func parseAcquire(rest *args, several bool) (*request, error) {
	r := &request{several: several, lease: 30 * time.Second, weight: 1}
	if several {
		keys, err := parseKeys(rest)
		if err != nil {
			return nil, err
		}
		r.keys = keys
	} else {
		r.keys = []string{rest.next()}
	}
	r.owner = rest.next()
	if r.owner == "" || r.owner == "*" {
		return nil, errors.New("ERR the server in memory needs an owner")
	}
	for len(*rest) > 0 {
		var err error
		var number int64
		switch strings.ToUpper(rest.next()) {
		case "PX":
			r.lease, err = rest.span()
		case "BLOCK":
			r.waits = true
			r.block, err = rest.span()
		case "SHARED":
			r.shared = true
		case "LIMIT":
			number, err = rest.number()
			r.limit = int(number)
		case "WEIGHT":
			number, err = rest.number()
			r.weight = int(number)
		case "SESSION":
			r.session = true
		case "MAX":
			r.longest, err = rest.span()
		case "DELAY":
			r.delay, err = rest.span()
		default:
			err = errSyntax
		}
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (s *Server) release(key, owner string, rest args) (int, error) {
	var fence int64
	var cool time.Duration
	downgrade := false
	for len(rest) > 0 {
		var err error
		switch strings.ToUpper(rest.next()) {
		case "FENCE":
			fence, err = rest.number()
		case "COOL":
			cool, err = rest.span()
		case "DOWNGRADE":
			downgrade = true
		default:
			err = errSyntax
		}
		if err != nil {
			return 0, err
		}
	}
	h := s.holderOf(key, owner)
	if fence != 0 && (h == nil || h.fence != fence) {
		return 0, nil
	}
	if downgrade && h != nil {
		h.shared = true
		s.changed(key)
		return 1, nil
	}
	s.withdraw(key, owner)
	if h == nil {
		return 0, nil
	}
	if cool > 0 && h.shared {
		return 0, errors.New("ERR COOL needs an exclusive hold")
	}
	s.end(key, s.locks[key], h, cool)
	return 1, nil
}

func (s *Server) extend(key, owner string, rest args) (int, error) {
	var fence, raise int64
	var lease time.Duration
	for len(rest) > 0 {
		var err error
		switch strings.ToUpper(rest.next()) {
		case "PX":
			lease, err = rest.span()
		case "FENCE":
			fence, err = rest.number()
		case "RAISE":
			raise, err = rest.number()
		default:
			err = errSyntax
		}
		if err != nil {
			return 0, err
		}
	}
	h := s.holderOf(key, owner)
	if h == nil || fence != 0 && h.fence != fence {
		return 0, nil
	}
	h.fence = max(h.fence, raise)
	s.fence = max(s.fence, raise)
	if lease > 0 {
		h.lease = lease
	}
	h.set(s.clock() + h.lease)
	return 1, nil
}

func (s *Server) check(key, owner string, waiters bool) any {
	h := s.holderOf(key, owner)
	if h == nil {
		return nil
	}
	reply := []any{h.fence, (h.until - s.clock()).Milliseconds()}
	if waiters {
		reply = append(reply, len(s.queue(key)))
	}
	return reply
}

func (s *Server) queue(key string) []*waiter {
	var queue []*waiter
	for _, w := range s.waiters {
		if slices.Contains(w.keys, key) {
			queue = append(queue, w)
		}
	}
	return queue
}

func modeOf(shared bool) string {
	if shared {
		return "shared"
	}
	return "exclusive"
}

func (s *Server) info(key string) any {
	state, queue := s.locks[key], s.queue(key)
	if state == nil && len(queue) == 0 {
		return nil
	}
	if state == nil {
		state = &stateFree
	}
	now := s.clock()
	mode, cooling := "free", max(0, state.cooling-now)
	var holders []any
	for _, h := range state.holders {
		mode = modeOf(h.shared)
		session, bound := int64(0), time.Duration(0)
		if h.session != nil {
			session = h.session.id
		}
		if h.bound > 0 {
			bound = h.bound - now
		}
		holders = append(holders, []any{
			"owner", h.owner, "fence", h.fence, "ttl", (h.until - now).Milliseconds(), "held", (now - h.since).Milliseconds(),
			"limit", h.limit, "session", session, "weight", h.weight, "max", bound.Milliseconds(),
		})
	}
	if cooling > 0 {
		mode = "cooling"
	}
	return []any{
		"mode", mode, "holders-count", len(holders), "holders", holders, "waiters", len(queue), "queue", s.shown(queue, 10),
		"cooling", cooling.Milliseconds(),
	}
}

var stateFree state

func (s *Server) shown(queue []*waiter, most int) []any {
	var shown []any
	for _, w := range queue[:min(len(queue), most)] {
		shown = append(shown, []any{
			"owner", w.owner, "mode", modeOf(w.shared), "waited", (s.clock() - w.since).Milliseconds(), "client", w.conn.id,
		})
	}
	return shown
}

// list tells all locks at once.
func (s *Server) list(rest args) (any, error) {
	var match, owner string
	rest.next()
	for len(rest) > 0 {
		switch strings.ToUpper(rest.next()) {
		case "COUNT":
			rest.next()
		case "MATCH":
			match = rest.next()
		case "OWNER":
			owner = rest.next()
		default:
			return nil, errSyntax
		}
	}
	var entries []any
	for _, key := range slices.Sorted(maps.Keys(s.locks)) {
		if owner != "" && s.holderOf(key, owner) == nil || match != "" && !matches(match, key) {
			continue
		}
		entries = append(entries, s.entry(key, owner))
	}
	return []any{"0", entries}, nil
}

func (s *Server) entry(key, owner string) []any {
	state := s.locks[key]
	now := s.clock()
	entry := []any{"key", key, "holders-count", len(state.holders), "waiters", len(s.queue(key))}
	if len(state.holders) == 0 {
		return append(entry, "mode", "cooling", "owner", "", "ttl", (state.cooling - now).Milliseconds(), "fence", 0, "held", 0)
	}
	h := state.holders[0]
	if owner != "" {
		h = s.holderOf(key, owner)
	}
	return append(entry, "mode", modeOf(h.shared), "owner", h.owner, "fence", h.fence,
		"ttl", (h.until - now).Milliseconds(), "held", (now - h.since).Milliseconds())
}

func (s *Server) top() any {
	var entries []any
	for _, key := range slices.Sorted(maps.Keys(s.locks)) {
		queue := s.queue(key)
		if len(queue) == 0 {
			continue
		}
		entries = append(entries, append(s.entry(key, ""),
			"waited", (s.clock()-queue[0].since).Milliseconds(), "queue", s.shown(queue, 3)))
	}
	return entries
}

// matches is a pattern of Redis with * and ?.
func matches(pattern, text string) bool {
	switch {
	case pattern == "":
		return text == ""
	case pattern[0] == '*':
		return matches(pattern[1:], text) || text != "" && matches(pattern, text[1:])
	case text == "":
		return false
	case pattern[0] == '?' || pattern[0] == text[0]:
		return matches(pattern[1:], text[1:])
	}
	return false
}
