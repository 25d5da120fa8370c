package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	lock "example.com/redis-lock/clients/go"
)

var features = []string{
	"shared", "counted", "session", "keys", "scope", "max", "cool", "delay", "downgrade", "durable", "elect", "observe",
	"tracking", "share-waits", "block", "sentinel", "cluster", "quorum", "fake",
}

// driver has what the runner named.
type driver struct {
	library string
	events  *writer
	logger  *slog.Logger

	mu      sync.Mutex
	locks   map[string]*connected
	owners  map[string]*lock.Owner
	holds   map[string]*lock.Hold
	cancels map[uint64]context.CancelCauseFunc
}

func newDriver(library string, out io.Writer, logger *slog.Logger) *driver {
	return &driver{
		library: library,
		events:  &writer{out: json.NewEncoder(out)},
		logger:  logger,
		locks:   map[string]*connected{},
		owners:  map[string]*lock.Owner{},
		holds:   map[string]*lock.Hold{},
		cancels: map[uint64]context.CancelCauseFunc{},
	}
}

// serve answers requests until the input ends.
func (d *driver) serve(input *bufio.Reader) error {
	lines := json.NewDecoder(input)
	for {
		var r request
		if err := lines.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("the runner sent no request: %w", err)
		}
		if r.Locks == "" {
			r.Locks = "main"
		}
		// A cancellation may come as soon as the runner has sent an acquire.
		ctx, done := d.begin(r.ID)
		go func() {
			defer done()
			d.answer(ctx, &r)
		}()
	}
}

var errCancelled = errors.New("the runner cancelled the acquisition")

func (d *driver) begin(id uint64) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancels[id] = cancel
	return ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.cancels, id)
		cancel(nil)
	}
}

func (d *driver) answer(ctx context.Context, r *request) {
	ok, err := d.act(ctx, r)
	if err != nil {
		d.events.write(map[string]any{"id": r.ID, "error": map[string]any{"kind": kind(err), "message": err.Error()}})
		return
	}
	if ok == nil {
		ok = map[string]any{}
	}
	d.events.write(map[string]any{"id": r.ID, "ok": ok})
}

var (
	errUnsupported = errors.New("the client does not have this")
	errUsage       = errors.New("usage")
)

// kind is the protocol's word for an error.
func kind(err error) string {
	var server *lock.ServerError
	switch {
	case errors.Is(err, errCancelled), errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, errUnsupported):
		return "unsupported"
	case errors.Is(err, errUsage), errors.Is(err, lock.ErrUsage):
		return "usage"
	case errors.Is(err, lock.ErrClosed):
		return "closed"
	case errors.Is(err, lock.ErrNotAcquired):
		return "timeout"
	case errors.Is(err, lock.ErrNotHeld):
		return "not-held"
	case errors.Is(err, lock.ErrDeadlock):
		return "deadlock"
	case errors.Is(err, lock.ErrWrongType):
		return "wrong-type"
	case errors.Is(err, lock.ErrNoPermission):
		return "no-permission"
	case errors.Is(err, lock.ErrTooMany):
		return "too-many"
	case errors.Is(err, lock.ErrNotDurable):
		return "not-durable"
	case errors.Is(err, lock.ErrNoQuorum):
		return "no-quorum"
	case errors.As(err, &server):
		return "server"
	case errors.Is(err, lock.ErrUnreachable):
		return "connection"
	}
	return "server"
}

// version is what of a library is built in.
func (d *driver) version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if strings.HasPrefix(module.Path, "github.com/redis/"+d.library) {
			return d.library + " " + strings.TrimPrefix(module.Version, "v")
		}
	}
	return d.library
}

func (d *driver) act(ctx context.Context, r *request) (map[string]any, error) {
	switch r.Do {
	case "hello":
		name := "go"
		if d.library == "rueidis" {
			name = "go-rueidis"
		}
		return map[string]any{"client": name, "library": d.version(), "features": features}, nil
	case "connect":
		return nil, d.connect(r)
	case "owner":
		o, err := d.owner(r.Locks, r.Scope)
		if err != nil {
			return nil, err
		}
		return map[string]any{"owner": o.Name()}, nil
	case "acquire":
		return d.acquire(ctx, r)
	case "cancel":
		return nil, d.cancel(r)
	case "elect":
		return d.elect(ctx, r)
	case "observe":
		return d.observe(r)
	case "info":
		return d.info(ctx, r)
	case "block":
		// Goroutines run on several threads. One that is blocked stops no others.
		time.Sleep(time.Duration(r.ForMS) * time.Millisecond)
		return nil, nil
	case "stats":
		c, err := d.connected(r.Locks)
		if err != nil {
			return nil, err
		}
		return map[string]any{"connections_opened": c.opened()}, nil
	case "close":
		c, err := d.connected(r.Locks)
		if err != nil {
			return nil, err
		}
		return nil, c.close()
	}
	return d.actOnHold(ctx, r)
}

// actOnHold does what is done to a hold, or to a leader's.
func (d *driver) actOnHold(ctx context.Context, r *request) (map[string]any, error) {
	name := r.Hold
	if r.Do == "resign" {
		name = "leader " + r.Leader
	}
	d.mu.Lock()
	h := d.holds[name]
	d.mu.Unlock()
	switch r.Do {
	case "extend", "downgrade", "release", "held", "check", "resign":
		if h == nil {
			return nil, fmt.Errorf("%w: there is no hold %q", errUsage, name)
		}
	}
	switch r.Do {
	case "extend":
		if r.LeaseMS == nil {
			return nil, fmt.Errorf("%w: extend needs lease_ms", errUsage)
		}
		return nil, h.Extend(ctx, milliseconds(r.LeaseMS))
	case "downgrade":
		return nil, h.Downgrade(ctx)
	case "release", "resign":
		if r.CoolMS != nil {
			return nil, h.UnlockAndCool(ctx, milliseconds(r.CoolMS))
		}
		return nil, h.Unlock(ctx)
	case "held":
		return map[string]any{"held": h.Held()}, nil
	case "check":
		_, err := h.Check(ctx)
		if errors.Is(err, lock.ErrNotHeld) {
			return map[string]any{"held": false}, nil
		}
		return map[string]any{"held": true}, err
	}
	return nil, fmt.Errorf("%w: %s", errUnsupported, r.Do)
}

func (d *driver) cancel(r *request) error {
	if r.Request == nil {
		return fmt.Errorf("%w: cancel needs request", errUsage)
	}
	d.mu.Lock()
	cancel := d.cancels[*r.Request]
	d.mu.Unlock()
	if cancel != nil { // It may have ended already.
		cancel(errCancelled)
	}
	return nil
}

func milliseconds(ms *int64) time.Duration {
	// 292 years are without limit.
	const most = int64(1<<63-1) / int64(time.Millisecond)
	return time.Duration(min(*ms, most)) * time.Millisecond
}
