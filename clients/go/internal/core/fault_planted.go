//go:build lock_faults

package core

import "os"

var planted = os.Getenv("PLANTED_FAULT")

func faultNoJitter() bool { return planted == "no-jitter" }

// Fault says whether this fault is planted, for the conformance suite.
func Fault(name string) bool { return planted == name }
