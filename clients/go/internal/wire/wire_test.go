package wire

import (
	"bufio"
	"context"
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/redis-lock/clients/go/internal/core"
)

func TestRepliesAreRead(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 10_000)
	for text, want := range map[string]any{
		":-42\r\n": int64(-42), "+OK\r\n": "OK", "$3\r\na\nb\r\n": "a\nb", "$-1\r\n": nil, "*-1\r\n": nil, "_\r\n": nil,
		"#t\r\n": true, "#f\r\n": false, ",1.5\r\n": 1.5, "=7\r\ntxt:abc\r\n": "abc", "*0\r\n": []any{},
		"*2\r\n:1\r\n$1\r\na\r\n":              []any{int64(1), "a"},
		"%1\r\n+a\r\n:1\r\n":                   []any{"a", int64(1)},
		"~1\r\n:1\r\n":                         []any{int64(1)},
		">2\r\n+invalidate\r\n*1\r\n+k\r\n":    push{"invalidate", []any{"k"}},
		"|1\r\n+a\r\n+b\r\n:7\r\n":             int64(7),
		"-" + long + "\r\n":                    &core.Refusal{Text: long},
		"!5\r\nERR x\r\n":                      &core.Refusal{Text: "ERR x"},
		"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n": []any{[]any{[]any{[]any{[]any{int64(1)}}}}},
	} {
		got, err := read(bufio.NewReader(strings.NewReader(text)), 0)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%.40q is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "\r\n", ":x\r\n", ":1\n", "$5\r\nabc\r\n", "?\r\n", "*99999999\r\n", "$999999999\r\n", "-" + strings.Repeat("x", lineMax+1),
		strings.Repeat("*1\r\n", 100),
	} {
		if got, err := read(bufio.NewReader(strings.NewReader(text)), 0); err == nil {
			t.Errorf("%.40q is %v", text, got)
		}
	}
}

// Whatever a peer sends is a reply or an error.
func FuzzRead(f *testing.F) {
	for _, text := range []string{":1\r\n", "*2\r\n$1\r\na\r\n_\r\n", "%1\r\n+a\r\n|1\r\n+b\r\n:1\r\n#t\r\n", "-ERR x\r\n", ">1\r\n,1\r\n"} {
		f.Add(text)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		from := bufio.NewReader(strings.NewReader(text))
		for {
			if _, err := read(from, 0); err != nil {
				return
			}
		}
	})
}

func TestCommandsOfManyGoOutInOrderAndAnswersComeBack(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	conn := NewConn(near, "test", nil)
	go func() {
		from := bufio.NewReader(far)
		for {
			words, err := ReadCommand(from)
			if err != nil {
				return
			}
			_, _ = far.Write([]byte("$" + string(rune('0'+len(words[0]))) + "\r\n" + words[0] + "\r\n"))
		}
	}()
	var calls []*Call
	for range 100 {
		calls = append(calls, conn.Post(core.Command{"A"}, core.Command{"BB", 7}))
	}
	for _, call := range calls {
		replies, err := call.Wait(t.Context())
		if err != nil || !reflect.DeepEqual(replies, []any{"A", "BB"}) {
			t.Fatalf("%v, %v", replies, err)
		}
	}
	if conn.Owes() != 0 || conn.IsClosed() {
		t.Error("the connection owes something")
	}
}

func TestConnectionThatBreaksFailsWhatWasNotAnswered(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	conn := NewConn(near, "test", nil)
	closed := make(chan struct{})
	conn.OnClose(func() { close(closed) })
	call := conn.Post(core.Command{"PING"})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := call.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait: %v", err)
	}
	_ = far.Close()
	<-closed
	var lost *LostError
	if _, err := call.Wait(t.Context()); !errors.As(err, &lost) {
		t.Errorf("Wait: %v", err)
	}
	if _, err := conn.Post(core.Command{"PING"}).Wait(t.Context()); !errors.As(err, &lost) {
		t.Errorf("Post on a closed connection: %v", err)
	}
	ran := false
	conn.OnClose(func() { ran = true })
	if !ran {
		t.Error("OnClose of a closed connection does not call")
	}
}

func TestReplyThatNobodyAskedForEndsTheConnection(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	conn := NewConn(near, "test", nil)
	_, _ = far.Write([]byte(":1\r\n"))
	select {
	case <-conn.Closed():
	case <-time.After(time.Minute):
		t.Error("the connection stays open")
	}
}
