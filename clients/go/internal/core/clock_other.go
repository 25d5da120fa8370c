//go:build !linux

package core

import "time"

// Now is the time on a clock that also goes on while the machine sleeps. Only differences have a meaning.
func Now() time.Duration {
	return fallback.now()
}
