// Package redistest starts Redis servers with the module for the tests beside it.
//
// REDIS_SERVER names the server program (redis-server), REDIS_LOCK_MODULE the module (target/release of this repository).
package redistest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	lock "example.com/redis-lock/clients/go"
	"github.com/redis/go-redis/v9"
)

// patience is how long anything may take on a slow machine before a test fails.
const patience = 60 * time.Second

// Server is a Redis server with the module, on a port of its own. It keeps nothing on disk.
type Server struct {
	Addr   string
	t      testing.TB
	client *redis.Client
	// Of the process that runs now, or ran last.
	process *os.Process
	exited  chan struct{}
	output  *bytes.Buffer // To be read when it has exited.
}

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t}
	t.Cleanup(s.Kill)
	// Somebody may take the port between our asking for a free one and the server's listening on it.
	for range 5 {
		s.Addr = FreeAddr(t)
		s.client = redis.NewClient(&redis.Options{Addr: s.Addr, DialerRetries: 1, MaxRetries: -1})
		t.Cleanup(func() { _ = s.client.Close() })
		if s.launch() {
			return s
		}
	}
	t.Fatalf("the server does not start:\n%s", s.output)
	return nil
}

// Kill ends the server at once, like kill -9 or a power failure.
func (s *Server) Kill() {
	if s.process != nil {
		_ = s.process.Kill()
		<-s.exited
	}
}

// Restart starts a killed server again: empty, at the same address.
func (s *Server) Restart() {
	s.t.Helper()
	if !s.launch() {
		s.t.Fatalf("the server does not start again:\n%s", s.output)
	}
}

// Pause stops the process until Resume. It stays connected and does not answer.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets it go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
}

// launch starts the process and waits until it answers; false if it exits instead.
func (s *Server) launch() bool {
	s.t.Helper()
	dir, err := os.MkdirTemp("", "redis-lock-example-")
	if err != nil {
		s.t.Fatal(err)
	}
	// The server writes no files, so its directory can go as soon as it is in: nothing is left, however the test ends.
	defer os.RemoveAll(dir)
	_, port, _ := net.SplitHostPort(s.Addr)
	command := exec.Command(cmp.Or(os.Getenv("REDIS_SERVER"), "redis-server"),
		"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--appendonly", "no", "--loadmodule", module(s.t))
	s.output = &bytes.Buffer{}
	command.Stdout, command.Stderr = s.output, s.output
	command.SysProcAttr = diesWithParent()
	if err := command.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(exited)
	}()
	s.process, s.exited = command.Process, exited

	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		select {
		case <-exited:
			return false
		default:
		}
		// go-redis would log that nobody listens yet.
		conn, err := net.Dial("tcp", s.Addr)
		if err != nil {
			continue
		}
		_ = conn.Close()
		// Another test's server may have got the port.
		info, err := s.client.Info(context.Background(), "server").Result()
		if err == nil && strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", command.Process.Pid)) {
			return true
		}
	}
	s.Kill()
	return false
}

// module is the path of the module. Without it nothing is tested, so that is a failure.
func module(t testing.TB) string {
	t.Helper()
	path := os.Getenv("REDIS_LOCK_MODULE")
	if path == "" {
		_, here, _, _ := runtime.Caller(0)
		path = filepath.Join(filepath.Dir(here), "../../../../target/release/libredis_lock.so")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the module is missing (%v): run `make build` in the repository, or set REDIS_LOCK_MODULE to its path", err)
	}
	return path
}

// FreeAddr is an address at which nobody listens.
func FreeAddr(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// Client is a client for looking at the server, and for playing the operator.
func (s *Server) Client() *redis.Client {
	return s.client
}

// Locks is a client for locks, closed with the test.
func (s *Server) Locks() *lock.Client {
	s.t.Helper()
	return Locks(s.t, s.Addr)
}

// Locks is a client for the locks of the server at an address, closed with the test.
func Locks(t testing.TB, addr string) *lock.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	locks, err := lock.New(client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = locks.Close()
		_ = client.Close()
	})
	return locks
}

// Info is LOCK.INFO of the key; nil if the lock is free.
func (s *Server) Info(key string) map[any]any {
	s.t.Helper()
	info, err := s.client.Do(context.Background(), "LOCK.INFO", key).Result()
	if err == redis.Nil {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return info.(map[any]any)
}

// Waiters is how many wait for the key.
func (s *Server) Waiters(key string) int {
	s.t.Helper()
	waiters, _ := s.Info(key)["waiters"].(int64)
	return int(waiters)
}

// Count is a number in the section redislock of INFO.
func (s *Server) Count(field string) int {
	s.t.Helper()
	info, err := s.client.Info(context.Background(), "redislock").Result()
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "redislock_"+field+":"); ok {
			count, err := strconv.Atoi(value)
			if err != nil {
				s.t.Fatal(err)
			}
			return count
		}
	}
	s.t.Fatalf("INFO has no redislock_%s:\n%s", field, info)
	return 0
}

// Until waits until something is so.
func Until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come about: %s", what)
		}
	}
}

// Cause waits until a context ends and is why.
func Cause(t testing.TB, ctx context.Context) error {
	t.Helper()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(patience):
		t.Fatal("the context does not end")
		return nil
	}
}
