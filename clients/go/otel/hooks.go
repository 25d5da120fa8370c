// Package lockotel measures locks with OpenTelemetry.
//
//	hooks, err := lockotel.Hooks(otel.GetMeterProvider())
//	c, err := lock.New(rdb, lock.WithHooks(hooks))
package lockotel

import (
	"context"
	"errors"
	"time"

	lock "example.com/redis-lock/clients/go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Scope is the name of the instrumentation scope.
const Scope = "example.com/redis-lock/clients/go"

// Hooks counts and measures what happens to locks:
//
//   - redislock.client.wait: how long acquisitions took, in seconds, by their result (acquired or refused)
//   - redislock.client.hold: how long locks were held until they were released, in seconds
//   - redislock.client.renewals: how often holds were renewed
//   - redislock.client.losses: how many holds were lost, by the reason
//
// Keys and owners are no attributes: their number has no bound.
func Hooks(provider metric.MeterProvider) (lock.Hooks, error) {
	meter := provider.Meter(Scope, metric.WithInstrumentationVersion(lock.Version))
	wait, err1 := meter.Float64Histogram("redislock.client.wait", metric.WithUnit("s"),
		metric.WithDescription("How long acquisitions of locks took."))
	hold, err2 := meter.Float64Histogram("redislock.client.hold", metric.WithUnit("s"),
		metric.WithDescription("How long locks were held until they were released."))
	renewals, err3 := meter.Int64Counter("redislock.client.renewals",
		metric.WithDescription("How often holds were renewed."))
	losses, err4 := meter.Int64Counter("redislock.client.losses",
		metric.WithDescription("How many holds were lost."))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return lock.Hooks{}, err
	}
	acquired := metric.WithAttributes(attribute.String("result", "acquired"))
	refused := metric.WithAttributes(attribute.String("result", "refused"))
	ctx := context.Background()
	return lock.Hooks{
		Acquired: func(_, _ string, waited time.Duration) { wait.Record(ctx, waited.Seconds(), acquired) },
		Refused:  func(_, _ string, waited time.Duration, _ error) { wait.Record(ctx, waited.Seconds(), refused) },
		Released: func(_, _ string, held time.Duration) { hold.Record(ctx, held.Seconds()) },
		Renewed:  func(_, _ string) { renewals.Add(ctx, 1) },
		Lost: func(_, _, reason string) {
			losses.Add(ctx, 1, metric.WithAttributes(attribute.String("reason", reason)))
		},
	}, nil
}
