package lock_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/clients/go/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// These make the test binary one of many processes that want one lock.
const (
	workerAddr    = "LOCK_TEST_WORKER_ADDR"
	workerThreads = "LOCK_TEST_WORKER_GOROUTINES"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(workerAddr); addr != "" {
		if err := work(addr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// work takes the lock again and again until the input ends, and prints how often.
func work(addr string) error {
	goroutines, err := strconv.Atoi(os.Getenv(workerThreads))
	if err != nil {
		return err
	}
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer rdb.Close()
	c, err := lock.New(rdb, lock.WithSharedWaits())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	counts := make([]int, goroutines)
	var working sync.WaitGroup
	for i := range goroutines {
		working.Go(func() {
			m := c.Mutex(key, lock.Lease(long))
			for ctx.Err() == nil {
				h, err := m.Lock(ctx)
				if err != nil {
					return
				}
				counts[i]++
				_ = h.Unlock(context.Background())
			}
		})
	}
	working.Wait()
	total := 0
	for _, count := range counts {
		total += count
	}
	fmt.Println(total)
	return c.Close()
}

// With shared waits a hot lock costs one waiter for each process, and processes take turns, however many goroutines each of
// them has.
func TestProcessesTakeTurns(t *testing.T) {
	processes, span := 12, 3*time.Second
	if os.Getenv("LONG") != "" {
		processes, span = 100, 20*time.Second
	}
	server := redistest.Start(t)
	gate := locked(t, connect(t, server.Addr).Mutex(key, lock.Lease(long)))
	type worker struct {
		command *exec.Cmd
		input   io.WriteCloser
		output  *bufio.Reader
	}
	var workers []worker
	for i := range processes {
		command := exec.CommandContext(t.Context(), os.Args[0])
		// Some have many goroutines, some have one.
		command.Env = append(os.Environ(), workerAddr+"="+server.Addr, fmt.Sprint(workerThreads, "=", 1+i%4*3))
		command.Stderr = os.Stderr
		input, err := command.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		output, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		workers = append(workers, worker{command, input, bufio.NewReader(output)})
	}
	redistest.Until(t, "all wait", func() bool { return server.Waiters(key) == processes })
	time.Sleep(200 * time.Millisecond)
	if waiters := server.Waiters(key); waiters != processes {
		t.Errorf("%d processes are %d waiters", processes, waiters)
	}
	unlock(t, gate)
	time.Sleep(span)
	for _, w := range workers {
		_ = w.input.Close()
	}
	var sum, squares float64
	for _, w := range workers {
		line, err := w.output.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		count, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
		if err != nil {
			t.Fatal(err)
		}
		sum, squares = sum+count, squares+count*count
		if err := w.command.Wait(); err != nil {
			t.Error(err)
		}
	}
	fairness := sum * sum / (float64(processes) * squares) // Jain's index: 1 if all get the same.
	t.Logf("%d processes, %.0f grants, fairness %.4f", processes, sum, fairness)
	if fairness < 0.95 {
		t.Errorf("the fairness is %.3f", fairness)
	}
	redistest.Until(t, "it is free", func() bool { return server.Info(key) == nil })
}
