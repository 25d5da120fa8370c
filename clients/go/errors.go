package lock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
	"example.com/redis-lock/clients/go/internal/nodes"
)

// Errors to compare with, by errors.Is. The types behind them say more.
var (
	// ErrNotAcquired says that others held the lock for as long as the caller waited. [NotAcquiredError] says how long.
	ErrNotAcquired = errors.New("the lock was not acquired")
	// ErrNotHeld says that the hold has ended. Others may have held the lock since. [LostError] says why.
	ErrNotHeld = errors.New("the lock is not held")
	// ErrDeadlock says that the wait would have closed a cycle. Release all that the owner holds, and start again.
	// [ServerError] has the cycle.
	ErrDeadlock = errors.New("the wait would close a cycle")
	// ErrWrongType says that the key holds a value that is not a lock.
	ErrWrongType = errors.New("the key holds a value that is not a lock")
	// ErrNoPermission says that the user may not run the command, or not on this key, or could not log in.
	ErrNoPermission = errors.New("the user may not do this")
	// ErrTooMany says that a limit of the server was reached: its waiters, its holders, or its memory.
	ErrTooMany = errors.New("a limit of the server was reached")
	// ErrNotDurable says that too few replicas confirmed the grant. The lock was released. [NotDurableError] says how many.
	ErrNotDurable = errors.New("too few replicas confirmed the grant")
	// ErrNoQuorum says that too few members of a quorum answered. [NoQuorumError] has their answers.
	ErrNoQuorum = errors.New("no quorum")
	// ErrUnreachable says that no server answered within the caller's time, and none said why.
	ErrUnreachable = errors.New("no server answered")
	// ErrClosed says that the client was closed.
	ErrClosed = nodes.ErrClosed
	// ErrUsage says that the request makes no sense, such as a lease of 0.
	ErrUsage = errors.New("this request makes no sense")
)

// NotAcquiredError says that others held the lock for as long as the caller waited. It matches [ErrNotAcquired], and
// context.DeadlineExceeded if the deadline of the context ended the wait.
type NotAcquiredError struct {
	// Keys are the locks that were asked for.
	Keys []string
	// Waited is how long the caller waited.
	Waited time.Duration

	cause error
}

func (e *NotAcquiredError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("%s: others hold the lock", strings.Join(e.Keys, ", "))
	}
	return fmt.Sprintf("%s: others held the lock for %v", strings.Join(e.Keys, ", "), e.Waited.Round(time.Millisecond))
}

// Is matches [ErrNotAcquired].
func (e *NotAcquiredError) Is(target error) bool { return target == ErrNotAcquired }

// Unwrap is context.DeadlineExceeded, or nil.
func (e *NotAcquiredError) Unwrap() error { return e.cause }

// Reasons of a [LostError].
const (
	// LostExpired says that this process's clock passed the end of the lease.
	LostExpired = "expired"
	// LostGone says that the server no longer knows the hold: it expired, or an operator removed it.
	LostGone = "gone"
	// LostMax says that the hold reached its Max.
	LostMax = "max"
	// LostDenied says that the lease ended because the user may no longer extend it.
	LostDenied = "denied"
	// LostSession says that the connection to which the hold was bound is closed.
	LostSession = "session"
	// LostClosed says that the client was closed.
	LostClosed = "closed"
	// LostReleased says that the hold had been released.
	LostReleased = "released"
)

// LostError says that a hold has ended, and how this client knows. It matches [ErrNotHeld].
type LostError struct {
	Keys   []string
	Owner  string
	Fence  int64
	Reason string
}

func (e *LostError) Error() string {
	return fmt.Sprintf("%s: the lock is not held any more (%s), owner %s, fence %d",
		strings.Join(e.Keys, ", "), e.Reason, e.Owner, e.Fence)
}

// Is matches [ErrNotHeld].
func (e *LostError) Is(target error) bool { return target == ErrNotHeld }

// ServerError is an error that the server answered. It matches [ErrDeadlock], [ErrWrongType], [ErrNoPermission] or
// [ErrTooMany] if it is one of those.
type ServerError struct {
	// Text is what the server said.
	Text string
	// Cycle is who waits for whom, if this is a deadlock.
	Cycle []Wait

	cause error
}

// Wait is one step of a deadlock: Owner waits for For, which holds or waits for Key. The server shortens long names.
type Wait struct {
	Owner, For, Key string
}

func serverError(r *core.Refusal) *ServerError {
	e := &ServerError{Text: r.Text}
	if r.Class() == core.Deadlocked {
		for _, wait := range r.Cycle() {
			e.Cycle = append(e.Cycle, Wait(wait))
		}
	}
	return e
}

func (e *ServerError) Error() string { return e.Text }

// Code is the first word of the text, such as WRONGTYPE.
func (e *ServerError) Code() string { return (&core.Refusal{Text: e.Text}).Code() }

// Is matches the errors of this package for some kinds of refusals.
func (e *ServerError) Is(target error) bool {
	switch (&core.Refusal{Text: e.Text}).Class() {
	case core.Deadlocked:
		return target == ErrDeadlock
	case core.WrongType:
		return target == ErrWrongType
	case core.NoPermission:
		return target == ErrNoPermission
	case core.TooMany:
		return target == ErrTooMany
	case core.Final, core.Passing:
	}
	return false
}

// Unwrap is context.DeadlineExceeded if the server said this each time until the deadline, else nil.
func (e *ServerError) Unwrap() error { return e.cause }

// NotDurableError says that too few replicas confirmed the grant in time. It matches [ErrNotDurable].
type NotDurableError struct {
	Keys              []string
	Confirmed, Wanted int
	// Err is set if the server did not answer.
	Err error
}

func (e *NotDurableError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: the server did not say how many replicas have the grant: %v", strings.Join(e.Keys, ", "), e.Err)
	}
	return fmt.Sprintf("%s: %d of %d replicas confirmed the grant", strings.Join(e.Keys, ", "), e.Confirmed, e.Wanted)
}

// Is matches [ErrNotDurable].
func (e *NotDurableError) Is(target error) bool { return target == ErrNotDurable }

// Unwrap is what went wrong, or nil.
func (e *NotDurableError) Unwrap() error { return e.Err }

// UnreachableError says that no server answered in time. It matches [ErrUnreachable].
type UnreachableError struct {
	// Err is what went wrong last.
	Err error

	cause error
}

func (e *UnreachableError) Error() string { return fmt.Sprintf("no server answered: %v", e.Err) }

// Is matches [ErrUnreachable].
func (e *UnreachableError) Is(target error) bool { return target == ErrUnreachable }

// Unwrap is what went wrong, and the end of the context if that ended the attempts.
func (e *UnreachableError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.cause}
}

// NoQuorumError says that too few members of a quorum did what they were asked. It matches [ErrNoQuorum].
type NoQuorumError struct {
	Keys []string
	// Members has the answer of each member; nil for those that did what they were asked.
	Members []error

	cause error
}

func (e *NoQuorumError) Error() string {
	var said []string
	for i, err := range e.Members {
		if err != nil {
			said = append(said, fmt.Sprintf("member %d: %v", i, err))
		}
	}
	return fmt.Sprintf("%s: no quorum (%s)", strings.Join(e.Keys, ", "), strings.Join(said, "; "))
}

// Is matches [ErrNoQuorum].
func (e *NoQuorumError) Is(target error) bool { return target == ErrNoQuorum }

// Unwrap is the end of the context if that ended the attempts.
func (e *NoQuorumError) Unwrap() error { return e.cause }

func usage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUsage, fmt.Sprintf(format, args...))
}

// deadline is context.DeadlineExceeded if that is why ctx ended, else nil.
func deadline(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return nil
}
