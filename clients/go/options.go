package lock

import (
	"log/slog"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
)

// Defaults.
const (
	// DefaultLease is how long a hold lasts without renewal.
	DefaultLease = 30 * time.Second
	// DefaultRequestTimeout is how long a server may take to answer before it is doubted.
	DefaultRequestTimeout = time.Second
	// DefaultProbeInterval is how often a server is asked whether it is alive while something waits for it.
	DefaultProbeInterval = 2 * time.Second
	// DefaultMaxWaits is how many goroutines of one client wait in the queues of servers at a time.
	DefaultMaxWaits = 1000
)

// Option changes how a lock is taken.
type Option func(*spec)

// spec is what a lock object asks for each time.
type spec struct {
	request        core.Request
	noRenewal      bool
	durable        int
	durableTimeout time.Duration
}

func newSpec(c *Client, keys []string, options []Option) spec {
	s := spec{request: core.Request{Keys: keys, Lease: DefaultLease}}
	if c != nil {
		for _, option := range c.options.defaults {
			option(&s)
		}
	}
	for _, option := range options {
		option(&s)
	}
	return s
}

func (s *spec) validate() error {
	if err := s.request.Validate(); err != nil {
		return usage("%v", err)
	}
	if s.durable < 0 || s.durable > 0 && s.durableTimeout <= 0 {
		return usage("Durable needs a number of replicas from 0 and a time above 0")
	}
	return nil
}

// Lease sets how long the hold lasts unless it is renewed: 1 ms to 365 days. It says how long a dead process keeps the
// others out. The default is [DefaultLease].
func Lease(d time.Duration) Option {
	return func(s *spec) { s.request.Lease = d }
}

// NoRenewal lets the hold end with its lease, unless [Hold.Extend] is called.
func NoRenewal() Option {
	return func(s *spec) { s.noRenewal = true }
}

// Max ends the hold at the latest this long after its grant, however often it is renewed. 1 ms to 365 days.
func Max(d time.Duration) Option {
	return func(s *spec) { s.request.Max = d }
}

// Delay keeps the lock free of holders for this long if the hold ends by its lease, its Max or its session, so that what a
// dead holder sent can arrive before the next one begins. 1 ms to an hour, for exclusive locks of one key.
func Delay(d time.Duration) Option {
	return func(s *spec) { s.request.Delay = d }
}

// Session binds the hold to a connection of its own, which is open as long as the hold: when the process dies, the lock is
// free at once.
func Session() Option {
	return func(s *spec) { s.request.Session = true }
}

// Durable waits after the grant until so many replicas have it. If fewer confirm it within the time-out, the lock is
// released, and the error is [ErrNotDurable].
func Durable(replicas int, timeout time.Duration) Option {
	return func(s *spec) { s.durable, s.durableTimeout = replicas, timeout }
}

// ClientOption changes a [Client] or a [Quorum].
type ClientOption func(*clientOptions)

type clientOptions struct {
	label          string
	logger         *slog.Logger
	hooks          []Hooks
	requestTimeout time.Duration
	probeInterval  time.Duration
	maxWaits       int
	shareWaits     bool
	noTracking     bool
	defaults       []Option
}

func newClientOptions(options []ClientOption) (clientOptions, error) {
	o := clientOptions{
		logger:         slog.New(slog.DiscardHandler),
		requestTimeout: DefaultRequestTimeout,
		probeInterval:  DefaultProbeInterval,
		maxWaits:       DefaultMaxWaits,
	}
	for _, option := range options {
		option(&o)
	}
	switch {
	case o.requestTimeout <= 0 || o.probeInterval <= 0:
		return o, usage("the request time-out and the probe interval must be above 0")
	case o.maxWaits < 1:
		return o, usage("MaxWaits must be at least 1, not %d", o.maxWaits)
	}
	return o, nil
}

// WithLabel puts a label in front of all owners, which are then label/host/pid/random.
func WithLabel(label string) ClientOption {
	return func(o *clientOptions) { o.label = label }
}

// WithLogger logs losses and background work that failed. The default logs nothing.
func WithLogger(logger *slog.Logger) ClientOption {
	return func(o *clientOptions) { o.logger = logger }
}

// WithHooks tells what happens to locks, for metrics. It may be given several times.
func WithHooks(hooks Hooks) ClientOption {
	return func(o *clientOptions) { o.hooks = append(o.hooks, hooks) }
}

// WithRequestTimeout sets how long a server may take to answer before it is doubted. The default is
// [DefaultRequestTimeout].
func WithRequestTimeout(d time.Duration) ClientOption {
	return func(o *clientOptions) { o.requestTimeout = d }
}

// WithProbeInterval sets how often a server is asked whether it is alive while something waits for it. A hung primary is
// left after about twice this time. The default is [DefaultProbeInterval].
func WithProbeInterval(d time.Duration) ClientOption {
	return func(o *clientOptions) { o.probeInterval = d }
}

// WithMaxWaits bounds how many goroutines wait in the queues of servers at a time, each on a connection of its own. Others
// wait in this process until one of them is done. The default is [DefaultMaxWaits].
func WithMaxWaits(n int) ClientOption {
	return func(o *clientOptions) { o.maxWaits = n }
}

// WithSharedWaits lets the goroutines that want one lock stand behind one wait in the server. A hot lock then costs one
// waiter for each process, and processes take turns, however many goroutines each of them has. The server does not see
// waits that stand behind another one, so it finds fewer deadlocks.
func WithSharedWaits() ClientOption {
	return func(o *clientOptions) { o.shareWaits = true }
}

// WithoutTracking does not ask the server to tell of lost locks. A loss is then noticed at the next renewal.
func WithoutTracking() ClientOption {
	return func(o *clientOptions) { o.noTracking = true }
}

// WithDefaults sets options for all locks of the client.
func WithDefaults(options ...Option) ClientOption {
	return func(o *clientOptions) { o.defaults = append(o.defaults, options...) }
}

// Hooks are told what happens to locks. Members may be nil. They run on the goroutine that does the work, so they must be
// quick. key is the lock's key, or several with ", " between them.
type Hooks struct {
	// Acquired: a lock was granted, after this time.
	Acquired func(key, owner string, waited time.Duration)
	// Refused: an acquisition ended without the lock, after this time.
	Refused func(key, owner string, waited time.Duration, err error)
	// Released: a hold was released, after it was held for this time.
	Released func(key, owner string, held time.Duration)
	// Renewed: a hold was extended in the background.
	Renewed func(key, owner string)
	// Lost: a hold was lost. The reason is one of those of [LostError].
	Lost func(key, owner, reason string)
}

func (o *clientOptions) tell(tell func(Hooks)) {
	for _, hooks := range o.hooks {
		tell(hooks)
	}
}
