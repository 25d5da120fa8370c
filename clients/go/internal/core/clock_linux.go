package core

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now is the time on a clock that also goes on while the machine sleeps. Only differences have a meaning.
func Now() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return fallback.now()
	}
	return time.Duration(ts.Nano()) + slept()
}
