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
	waiting list.List // of waiter, the longest wait in front
}

// waiter is one who waits, by its number.
type waiter struct {
	client int
	began  time.Time
}

// place is one client's in the line. Where nobody competes there is no line, and nothing to pay for it.
type place struct {
	began   time.Time
	element *list.Element
}

func (l *line) join(client int, contended bool) place {
	if !contended {
		return place{began: time.Now()}
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	now := time.Now()
	return place{now, l.waiting.PushBack(waiter{client, now})}
}

// leave tells whether somebody is left behind who had been waiting since long before.
func (l *line) leave(p place) (overtook bool) {
	if p.element == nil {
		return false
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	first := l.waiting.Front().Value.(waiter)
	l.waiting.Remove(p.element)
	return p.began.Sub(first.began) > passed
}

// ages tells how long each of those who wait has, by their numbers.
func (l *line) ages() map[int]time.Duration {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	ages := map[int]time.Duration{}
	for element := l.waiting.Front(); element != nil; element = element.Next() {
		waiting := element.Value.(waiter)
		ages[waiting.client] = time.Since(waiting.began)
	}
	return ages
}
