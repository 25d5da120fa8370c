//go:build !lock_faults

package core

import "time"

// The faults that the conformance suite plants are only in builds with the tag lock_faults.

func faultNoJitter() bool { return false }

// Fault says whether this fault is planted. It is always false in a normal build, so the compiler leaves the code out.
func Fault(string) bool { return false }

// slept is for how long the conformance suite says that the machine slept.
func slept() time.Duration { return 0 }
