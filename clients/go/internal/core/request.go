package core

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Bounds that the server has.
const (
	LeaseMax = 365 * 24 * time.Hour
	DelayMax = time.Hour
	KeysMax  = 64
	LimitMax = 1_000_000
	// blockMax is how long one command waits. A longer wait asks again.
	blockMax = 300 * 24 * time.Hour
)

// Command is a command with its arguments: strings, int and int64.
type Command []any

// Mode is how a lock is held.
type Mode uint8

// The modes of a hold.
const (
	Exclusive Mode = iota
	Shared
	Counted
)

// Request is what is asked for. The zero value of a member leaves its option out.
type Request struct {
	Keys   []string
	Owner  string
	Lease  time.Duration
	Mode   Mode
	Limit  int
	Weight int
	// Max bounds the hold, however often it is extended.
	Max     time.Duration
	Delay   time.Duration
	Session bool
	// Several says that the commands for several keys are used, also for one key.
	Several bool
}

// Validate says what the server would not take.
func (r *Request) Validate() error {
	switch {
	case len(r.Keys) == 0:
		return errors.New("at least one key is needed")
	case len(r.Keys) > KeysMax:
		return fmt.Errorf("at most %d keys are taken together, not %d", KeysMax, len(r.Keys))
	case hasTwice(r.Keys):
		return errors.New("a key is named twice")
	case r.Lease <= 0 || r.Lease > LeaseMax:
		return fmt.Errorf("the lease must be above 0 and at most 365 days, not %v", r.Lease)
	case r.Max < 0 || r.Max > LeaseMax:
		return fmt.Errorf("the max must be above 0 and at most 365 days, not %v", r.Max)
	case r.Delay < 0 || r.Delay > DelayMax:
		return fmt.Errorf("the delay must be above 0 and at most an hour, not %v", r.Delay)
	case r.Delay > 0 && (r.Mode != Exclusive || r.Several):
		return errors.New("a delay is for exclusive locks of one key")
	case r.Mode == Counted && (r.Limit < 1 || r.Limit > LimitMax):
		return fmt.Errorf("a semaphore has 1 to %d units, not %d", LimitMax, r.Limit)
	case r.Mode == Counted && (r.Weight < 1 || r.Weight > r.Limit):
		return fmt.Errorf("the weight must be 1 to %d, not %d", r.Limit, r.Weight)
	}
	return nil
}

func hasTwice(keys []string) bool {
	if len(keys) == 1 {
		return false
	}
	sorted := slices.Sorted(slices.Values(keys))
	return len(slices.Compact(sorted)) != len(keys)
}

// Name is how messages call what is asked for.
func (r *Request) Name() string {
	return strings.Join(r.Keys, ", ")
}

// Acquire is LOCK.ACQUIRE or LOCK.MACQUIRE that does not wait.
func (r *Request) Acquire() Command {
	command := append(r.head("ACQUIRE"), "PX", Milliseconds(r.Lease))
	if r.Mode != Exclusive {
		command = append(command, "SHARED")
	}
	if r.Mode == Counted {
		command = append(command, "LIMIT", r.Limit)
		if r.Weight > 1 {
			command = append(command, "WEIGHT", r.Weight)
		}
	}
	if r.Session {
		command = append(command, "SESSION")
	}
	if r.Max > 0 {
		command = append(command, "MAX", Milliseconds(r.Max))
	}
	if r.Delay > 0 {
		command = append(command, "DELAY", Milliseconds(r.Delay))
	}
	return command
}

// AcquireBlocking waits for up to this time; without limit if it is [Forever].
func (r *Request) AcquireBlocking(wait time.Duration) Command {
	block := int64(0)
	if wait < blockMax {
		block = Milliseconds(max(wait, 0))
	}
	return append(r.Acquire(), "BLOCK", block)
}

// Forever is a wait without limit.
const Forever = time.Duration(math.MaxInt64)

// Release ends whatever the owner holds or waits for.
func (r *Request) Release() Command {
	return r.head("RELEASE")
}

// ReleaseHold ends the hold with this fence. The lock cools afterwards if cool is above 0.
func (r *Request) ReleaseHold(fence int64, cool time.Duration) Command {
	if r.Several {
		return r.Release()
	}
	command := append(r.Release(), "FENCE", fence)
	if cool > 0 {
		command = append(command, "COOL", Milliseconds(cool))
	}
	return command
}

// Downgrade makes the exclusive hold with this fence a shared one.
func (r *Request) Downgrade(fence int64) Command {
	return append(r.Release(), "FENCE", fence, "DOWNGRADE")
}

// Extend gives the hold with this fence a new lease.
func (r *Request) Extend(fence int64, lease time.Duration) Command {
	command := append(r.head("EXTEND"), "PX", Milliseconds(lease))
	if r.Several {
		return command
	}
	return append(command, "FENCE", fence)
}

// Raise gives the hold a new lease and at least this fence.
func (r *Request) Raise(fence int64, lease time.Duration) Command {
	return append(r.head("EXTEND"), "PX", Milliseconds(lease), "RAISE", fence)
}

// Checks is a LOCK.CHECK for each key.
func (r *Request) Checks() []Command {
	var commands []Command
	for _, key := range r.Keys {
		commands = append(commands, Command{"LOCK.CHECK", key, r.Owner})
	}
	return commands
}

func (r *Request) head(verb string) Command {
	if !r.Several {
		return Command{"LOCK." + verb, r.Keys[0], r.Owner}
	}
	command := Command{"LOCK.M" + verb, len(r.Keys)}
	for _, key := range r.Keys {
		command = append(command, key)
	}
	return append(command, r.Owner)
}

// Milliseconds rounds up, so that nothing becomes 0.
func Milliseconds(d time.Duration) int64 {
	return max(1, int64((d+time.Millisecond-1)/time.Millisecond))
}
