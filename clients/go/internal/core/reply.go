package core

import (
	"fmt"
	"time"
)

// A reply is nil, an int64, a string, a bool, a float64, a *[Refusal], or a []any of such. A map is a flat []any.

// Fences reads the reply of LOCK.ACQUIRE or LOCK.MACQUIRE for so many keys; nil if the lock is taken.
func Fences(reply any, keys int) ([]int64, error) {
	switch reply := reply.(type) {
	case nil:
		return nil, nil
	case int64:
		if keys == 1 {
			return []int64{reply}, nil
		}
	case []any:
		fences := make([]int64, 0, len(reply))
		for _, one := range reply {
			if fence, ok := one.(int64); ok {
				fences = append(fences, fence)
			}
		}
		if len(fences) == keys {
			return fences, nil
		}
	}
	return nil, unexpected("an acquisition", reply)
}

// Count reads a reply that is a number.
func Count(reply any) (int64, error) {
	if count, ok := reply.(int64); ok {
		return count, nil
	}
	return 0, unexpected("a request", reply)
}

// Check is the reply of LOCK.CHECK.
type Check struct {
	Fence   int64
	TTL     time.Duration
	Waiters int
}

// ReadCheck reads the reply of LOCK.CHECK; false if the owner does not hold the lock.
func ReadCheck(reply any) (Check, bool, error) {
	if reply == nil {
		return Check{}, false, nil
	}
	parts, _ := reply.([]any)
	var numbers [3]int64
	if len(parts) != 2 && len(parts) != 3 {
		return Check{}, false, unexpected("LOCK.CHECK", reply)
	}
	for i, part := range parts {
		number, ok := part.(int64)
		if !ok {
			return Check{}, false, unexpected("LOCK.CHECK", reply)
		}
		numbers[i] = number
	}
	return Check{numbers[0], time.Duration(numbers[1]) * time.Millisecond, int(numbers[2])}, true, nil
}

func unexpected(what string, reply any) error {
	return fmt.Errorf("the server answered %s with %v (%T), which this client does not understand", what, reply, reply)
}

// Fields gives access to a map.
type Fields map[string]any

// ReadFields reads a flat array of names and values. What is no such array has no fields.
func ReadFields(reply any) Fields {
	flat, _ := reply.([]any)
	fields := Fields{}
	for i := 0; i+1 < len(flat); i += 2 {
		if name, ok := flat[i].(string); ok {
			fields[name] = flat[i+1]
		}
	}
	return fields
}

// Text is a field, or "".
func (f Fields) Text(name string) string {
	text, _ := f[name].(string)
	return text
}

// Number is a field, or 0.
func (f Fields) Number(name string) int64 {
	number, _ := f[name].(int64)
	return number
}

// Span is a field in milliseconds, or 0.
func (f Fields) Span(name string) time.Duration {
	return time.Duration(f.Number(name)) * time.Millisecond
}

// List is a field that is an array of maps.
func (f Fields) List(name string) []Fields {
	items, _ := f[name].([]any)
	list := make([]Fields, 0, len(items))
	for _, item := range items {
		list = append(list, ReadFields(item))
	}
	return list
}
