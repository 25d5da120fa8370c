package redistest

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
)

// History is a file to which all that is done under a lock is appended, by goroutines and processes, in the order in which
// it happened.
type History string

// Enter notes that the holder with this fence is in.
func (h History) Enter(fence int64) error { return h.note("enter", fence) }

// Leave notes that it goes.
func (h History) Leave(fence int64) error { return h.note("leave", fence) }

func (h History) note(what string, fence int64) error {
	file, err := os.OpenFile(string(h), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = fmt.Fprintln(file, what, fence) // One write, so lines do not mix.
	return err
}

// Judge fails the test unless one after the other was in, so many of them, with rising fences.
func (h History) Judge(t testing.TB, visits int) {
	t.Helper()
	file, err := os.Open(string(h))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var last, in, left int64
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var what string
		var fence int64
		if _, err := fmt.Fscan(strings.NewReader(lines.Text()), &what, &fence); err != nil {
			t.Fatalf("history line %q: %v", lines.Text(), err)
		}
		switch {
		case what == "enter" && in != 0:
			t.Fatalf("%d came in while %d was in", fence, in)
		case what == "enter" && fence <= last:
			t.Fatalf("%d came in after %d: fences fall", fence, last)
		case what == "leave" && fence != in:
			t.Fatalf("%d left while %d was in", fence, in)
		case what == "enter":
			in, last = fence, fence
		case what == "leave":
			in = 0
			left++
		}
	}
	if in != 0 || left != int64(visits) {
		t.Fatalf("%d visits have ended, want %d; still in: %d", left, visits, in)
	}
}

// Rising fails the test unless each fence is larger than the one before.
func Rising(t testing.TB, fences []int64) {
	t.Helper()
	for i := 1; i < len(fences); i++ {
		if fences[i] <= fences[i-1] {
			t.Fatalf("fence %d of %d falls: %v", i+1, len(fences), fences)
		}
	}
}
