package main

import (
	"cmp"
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

// weighted is a time that counts for more or less than others.
type weighted struct {
	time   time.Duration
	weight float64
}

// weightedQuantiles sorts the times in place.
func weightedQuantiles(times []weighted) Times {
	if len(times) == 0 {
		return Times{}
	}
	slices.SortFunc(times, func(one, other weighted) int { return cmp.Compare(one.time, other.time) })
	total := 0.0
	for _, one := range times {
		total += one.weight
	}
	at := func(share float64) float64 {
		below := 0.0
		for _, one := range times {
			if below += one.weight; below >= share*total {
				return us(one.time)
			}
		}
		return us(times[len(times)-1].time)
	}
	return Times{P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999), Max: at(1)}
}
