package lock

import (
	"context"
	"sync"
)

// tally counts what goes on. Unlike a sync.WaitGroup it can be waited for while more begins.
type tally struct {
	mu    sync.Mutex
	count int
	ended chan struct{} // Closed when the count is 0; nil if nobody waits for that.
}

func (t *tally) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
}

func (t *tally) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count--; t.count == 0 && t.ended != nil {
		close(t.ended)
		t.ended = nil
	}
}

// wait waits until nothing goes on, or ctx ends.
func (t *tally) wait(ctx context.Context) {
	t.mu.Lock()
	if t.count == 0 {
		t.mu.Unlock()
		return
	}
	if t.ended == nil {
		t.ended = make(chan struct{})
	}
	ended := t.ended
	t.mu.Unlock()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}
