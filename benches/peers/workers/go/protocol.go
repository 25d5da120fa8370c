package main

import "time"

// Job is what the orchestrator asks for.
type Job struct {
	Peer     string `json:"peer"`
	Row      string `json:"row"`
	Workload string `json:"workload"`
	Clients  int    `json:"clients"`
	// SectionUs is how long the lock is held, in microseconds.
	SectionUs     int64    `json:"section_us"`
	Seconds       float64  `json:"seconds"`
	WarmupSeconds float64  `json:"warmup_seconds"`
	Redis         string   `json:"redis"`
	RedisAll      []string `json:"redis_all"`
	Etcd          string   `json:"etcd"`
	Postgres      string   `json:"postgres"`
	LeaseMs       int64    `json:"lease_ms"`
	Key           string   `json:"key"`
}

func (j *Job) lease() time.Duration {
	return time.Duration(j.LeaseMs) * time.Millisecond
}

func (j *Job) contended() bool {
	return j.Workload == "contended"
}

// About says what a peer is and how it is set.
type About struct {
	Peer     string   `json:"peer"`
	Row      string   `json:"row"`
	Library  string   `json:"library"`
	Version  string   `json:"version"`
	Client   string   `json:"client"`
	Settings string   `json:"settings"`
	Links    []string `json:"links"`
}

// Times are quantiles in microseconds.
type Times struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// Result is what a job found. Unless it says otherwise a figure is of the measured span alone.
type Result struct {
	Event    string `json:"event"`
	Library  string `json:"library"`
	Version  string `json:"version"`
	Client   string `json:"client"`
	Settings string `json:"settings"`
	Grants   int64  `json:"grants"`
	// GrantsTotal counts from the start of the process to its end.
	GrantsTotal int64   `json:"grants_total"`
	PerClient   []int64 `json:"per_client"`
	ElapsedS    float64 `json:"elapsed_s"`
	// GaveUp counts how often the library said that it would wait no longer, from start to end.
	GaveUp int64 `json:"gave_up"`
	// Pending are the clients that were waiting when the span ended.
	Pending int `json:"pending"`
	// Violations count from start to end.
	Violations    int64   `json:"violations"`
	SectionUsMean float64 `json:"section_us_mean"`
	WaitUs        Times   `json:"wait_us"`
	// WaitByClientUs are the waits of a client picked by chance, those that are not over among them.
	WaitByClientUs Times `json:"wait_by_client_us"`
	// HandoffUs is null where nobody hands anything over.
	HandoffUs *Times  `json:"handoff_us"`
	Overtakes int64   `json:"overtakes"`
	Errors    int64   `json:"errors"`
	Error     *string `json:"error"`
}
