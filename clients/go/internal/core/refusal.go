package core

import (
	"net"
	"regexp"
	"strconv"
	"strings"
)

// Refusal is an error that the server answered.
type Refusal struct {
	// Text is what the server said, with the code in front.
	Text string
}

func (r *Refusal) Error() string { return r.Text }

// Code is the first word, such as WRONGTYPE.
func (r *Refusal) Code() string {
	code, _, _ := strings.Cut(r.Text, " ")
	return code
}

// Class says what a refusal means for who asked.
type Class uint8

// The classes of refusals.
const (
	// Final refusals have no class of their own.
	Final Class = iota
	// Passing refusals go away: the same request is sent again.
	Passing
	Deadlocked
	WrongType
	NoPermission
	TooMany
)

// Class is how the refusal is treated.
func (r *Refusal) Class() Class {
	switch r.Code() {
	case "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "READONLY", "UNBLOCKED", "MOVED", "ASK":
		return Passing
	case "DEADLOCK":
		return Deadlocked
	case "WRONGTYPE":
		return WrongType
	case "NOPERM", "NOAUTH", "WRONGPASS":
		return NoPermission
	case "OOM":
		return TooMany
	}
	if strings.Contains(r.Text, "redislock.max-") {
		return TooMany
	}
	return Final
}

// Redirection is where MOVED and ASK lead. The host is empty if the server says that it is its own.
func (r *Refusal) Redirection() (slot int, addr string, ok bool) {
	words := strings.Fields(r.Text)
	if len(words) < 3 || words[0] != "MOVED" && words[0] != "ASK" {
		return 0, "", false
	}
	slot, err := strconv.Atoi(words[1])
	if err != nil || slot < 0 || slot >= Slots {
		return 0, "", false
	}
	if _, _, err := net.SplitHostPort(words[2]); err != nil {
		// An IPv6 address stands there without brackets.
		colon := strings.LastIndexByte(words[2], ':')
		if colon < 0 {
			return 0, "", false
		}
		return slot, net.JoinHostPort(words[2][:colon], words[2][colon+1:]), true
	}
	return slot, words[2], true
}

// Wait is a part of a deadlock. The server shortens long names.
type Wait struct {
	Owner, For, Key string
}

var waitsFor = regexp.MustCompile(`'([^']*)'(?:\.\.\.)? waits for '([^']*)'(?:\.\.\.)? \(lock '([^']*)'(?:\.\.\.)?\)`)

// Cycle is who waits for whom, as far as DEADLOCK told it.
func (r *Refusal) Cycle() []Wait {
	var cycle []Wait
	for _, match := range waitsFor.FindAllStringSubmatch(r.Text, -1) {
		cycle = append(cycle, Wait{match[1], match[2], match[3]})
	}
	return cycle
}
