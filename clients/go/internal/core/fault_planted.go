//go:build lock_faults

package core

import (
	"encoding/binary"
	"os"
	"sync"
	"time"
)

var planted = os.Getenv("PLANTED_FAULT")

func faultNoJitter() bool { return planted == "no-jitter" }

// Fault says whether this fault is planted, for the conformance suite.
func Fault(name string) bool { return planted == name }

// slept is for how long the conformance suite says that the machine slept: the first eight bytes of a file, in seconds. To
// programs that ask the C library for the time it says so by a library that it preloads.
func slept() time.Duration {
	file := sleepFile()
	var seconds [8]byte
	if file == nil {
		return 0
	}
	if _, err := file.ReadAt(seconds[:], 0); err != nil {
		return 0
	}
	return time.Duration(binary.NativeEndian.Uint64(seconds[:])) * time.Second
}

var sleepFile = sync.OnceValue(func() *os.File {
	file, err := os.Open(os.Getenv("REDIS_LOCK_SLEEP_FILE"))
	if err != nil {
		return nil
	}
	return file
})
