package main

import (
	"container/list"
	"sync"
	"time"
)

// passed is by how much somebody must have begun to wait earlier to count as overtaken: below that, nobody can say whose
// request left the process first.
const passed = 5 * time.Millisecond

// line are the waiting clients in the order in which they called acquire.
type line struct {
	mutex   sync.Mutex
	waiting list.List // of time.Time, the longest wait in front
}

// place is one client's in the line. Where nobody competes there is no line, and nothing to pay for it.
type place struct {
	began   time.Time
	element *list.Element
}

func (l *line) join(contended bool) place {
	if !contended {
		return place{began: time.Now()}
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	now := time.Now()
	return place{now, l.waiting.PushBack(now)}
}

// leave tells whether somebody is left behind who had been waiting since long before.
func (l *line) leave(p place) (overtook bool) {
	if p.element == nil {
		return false
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	first := l.waiting.Front().Value.(time.Time)
	l.waiting.Remove(p.element)
	return p.began.Sub(first) > passed
}

// pending counts who waits, and how long the first of them has.
func (l *line) pending() (count int, oldest time.Duration) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if first := l.waiting.Front(); first != nil {
		oldest = time.Since(first.Value.(time.Time))
	}
	return l.waiting.Len(), oldest
}
