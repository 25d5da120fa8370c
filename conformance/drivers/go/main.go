// Go is the driver of the Go client for the conformance suite. conformance/PROTOCOL.md is the contract.
//
//	go run -tags lock_faults . [-library go-redis|rueidis]
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"sync"
)

func main() {
	library := flag.String("library", "go-redis", "the Redis client library: go-redis or rueidis")
	flag.Parse()
	if *library != "go-redis" && *library != "rueidis" {
		fmt.Fprintf(os.Stderr, "-library must be go-redis or rueidis, not %q\n", *library)
		os.Exit(2)
	}
	d := newDriver(*library, os.Stdout, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err := d.serve(bufio.NewReaderSize(os.Stdin, 1<<20)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// request is a request of the runner. Absent members are nil or empty.
type request struct {
	ID      uint64   `json:"id"`
	Do      string   `json:"do"`
	Locks   string   `json:"locks"`
	Hold    string   `json:"hold"`
	Key     string   `json:"key"`
	Keys    []string `json:"keys"`
	Scope   string   `json:"scope"`
	Mode    string   `json:"mode"`
	Request *uint64  `json:"request"`

	Deployment       string   `json:"deployment"`
	URLs             []string `json:"urls"`
	Service          string   `json:"service"`
	Label            string   `json:"label"`
	RequestTimeoutMS *int64   `json:"request_timeout_ms"`
	MaxConnections   *int     `json:"max_connections"`
	ShareWaits       bool     `json:"share_waits"`

	LeaseMS   *int64 `json:"lease_ms"`
	TimeoutMS *int64 `json:"timeout_ms"`
	MaxMS     *int64 `json:"max_ms"`
	DelayMS   *int64 `json:"delay_ms"`
	CoolMS    *int64 `json:"cool_ms"`
	ForMS     int64  `json:"for_ms"`
	Limit     int    `json:"limit"`
	Weight    *int   `json:"weight"`
	Session   bool   `json:"session"`
	Renew     *bool  `json:"renew"`
	Durable   int    `json:"durable"`
	Reentrant bool   `json:"reentrant"`

	Leader   string `json:"leader"`
	Observer string `json:"observer"`
}

// writer writes one JSON object a line.
type writer struct {
	mu  sync.Mutex
	out *json.Encoder
}

func (w *writer) write(object map[string]any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// If the runner is gone, the input ends too.
	_ = w.out.Encode(object)
}
