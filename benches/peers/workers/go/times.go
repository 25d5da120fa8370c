package main

import (
	"math"
	"slices"
	"time"
)

func us(length time.Duration) float64 {
	return float64(length.Nanoseconds()) / 1000
}

// quantiles sorts the times in place.
func quantiles(times []time.Duration) Times {
	if len(times) == 0 {
		return Times{}
	}
	slices.Sort(times)
	at := func(share float64) float64 {
		return us(times[int(math.Round(float64(len(times)-1)*share))])
	}
	return Times{P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999), Max: at(1)}
}
