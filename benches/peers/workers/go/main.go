// The Go worker of the peers benchmark: it drives one lock library as the job in its argument says.
//
// benches/peers/README.md tells what a job holds and what is printed. A new peer is one file here and one line in peers.go.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// event is what goes to standard output, one a line. Nothing else does.
func event(value any) {
	line, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: worker peers | worker '{...a job...}'")
		os.Exit(2)
	}
	if os.Args[1] == "peers" {
		event(about())
		return
	}
	result, err := run(os.Args[1])
	if err != nil {
		text := err.Error()
		result.Error = &text
		result.Errors = max(1, result.Errors)
	}
	event(result)
	if err != nil {
		os.Exit(1)
	}
}

// run does what the job says. The result also tells how far it came when there is an error.
func run(argument string) (Result, error) {
	result := Result{Event: "result", PerClient: []int64{}}
	var job Job
	if err := json.Unmarshal([]byte(argument), &job); err != nil {
		return result, fmt.Errorf("the job: %w", err)
	}
	peer, err := find(job.Peer, job.Row)
	if err != nil {
		return result, err
	}
	about := peer.about()
	result.Library, result.Version, result.Client = about.Library, about.Version, about.Client
	result.Settings = about.Settings

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	system, err := peer.open(ctx, &job)
	if err != nil {
		return result, fmt.Errorf("connect: %w", err)
	}
	measurement, err := start(ctx, &job, system)
	if err != nil {
		return result, fmt.Errorf("connect: %w", err)
	}
	if measurement.wait(seconds(job.WarmupSeconds)) {
		event(map[string]string{"event": "ready"})
		// The orchestrator closes its end when it gives up; then there is nothing to measure.
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			measurement.fail(fmt.Errorf("no word to begin: %w", err))
		}
		measurement.measure(seconds(job.Seconds))
	}
	cancel()
	system.giveUp()
	measurement.finish(&result)
	err = system.close()
	return result, cmp.Or(measurement.error(), err)
}

func seconds(number float64) time.Duration {
	return time.Duration(number * float64(time.Second))
}
