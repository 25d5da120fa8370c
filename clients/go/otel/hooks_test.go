package lockotel_test

import (
	"context"
	"errors"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/clients/go/locktest"
	lockotel "example.com/redis-lock/clients/go/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

func TestHooksMeasure(t *testing.T) {
	t.Parallel()
	reader := metric.NewManualReader()
	hooks, err := lockotel.Hooks(metric.NewMeterProvider(metric.WithReader(reader)))
	if err != nil {
		t.Fatal(err)
	}
	server := locktest.New()
	defer server.Close()
	c := server.Client(lock.WithHooks(hooks))
	h, err := c.Mutex("door", lock.Lease(300*time.Millisecond)).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Mutex("door").TryLock(t.Context()); !errors.Is(err, lock.ErrNotAcquired) {
		t.Errorf("TryLock: %v", err)
	}
	time.Sleep(400 * time.Millisecond) // It is renewed meanwhile.
	if err := h.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	lost, err := c.Mutex("door", lock.Lease(time.Hour)).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server.Advance(2 * time.Hour)
	<-lost.Context().Done()

	found := counts(t, reader)
	for name, want := range map[string]uint64{
		"redislock.client.wait result=acquired": 2,
		"redislock.client.wait result=refused":  1,
		"redislock.client.hold ":                1,
		"redislock.client.losses ":              1,
	} {
		if found[name] != want {
			t.Errorf("%s is %d, not %d", name, found[name], want)
		}
	}
	if found["redislock.client.renewals "] == 0 {
		t.Error("no renewal was counted")
	}
}

// counts has the counts by instrument and attribute. The reason of a loss is left out.
func counts(t *testing.T, reader metric.Reader) map[string]uint64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	found := map[string]uint64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Histogram[float64]:
				for _, point := range data.DataPoints {
					found[m.Name+" "+result(point.Attributes)] += point.Count
				}
			case metricdata.Sum[int64]:
				for _, point := range data.DataPoints {
					found[m.Name+" "] += uint64(point.Value)
				}
			}
		}
	}
	return found
}

func result(attributes attribute.Set) string {
	if value, ok := attributes.Value("result"); ok {
		return "result=" + value.AsString()
	}
	return ""
}
