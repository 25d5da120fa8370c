package core

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestCommandsAreThoseOfTheServer(t *testing.T) {
	t.Parallel()
	one := Request{Keys: []string{"k"}, Owner: "o", Lease: 1500 * time.Microsecond}
	full := Request{
		Keys: []string{"k"}, Owner: "o", Lease: time.Second, Mode: Counted, Limit: 4, Weight: 2, Session: true, Max: time.Minute,
	}
	delayed := Request{Keys: []string{"k"}, Owner: "o", Lease: time.Second, Delay: 2 * time.Second}
	several := Request{Keys: []string{"a", "b"}, Owner: "o", Lease: time.Second, Several: true, Mode: Shared}
	for _, c := range []struct {
		got  Command
		want string
	}{
		{one.Acquire(), "LOCK.ACQUIRE k o PX 2"},
		{one.AcquireBlocking(time.Second), "LOCK.ACQUIRE k o PX 2 BLOCK 1000"},
		{one.AcquireBlocking(-time.Second), "LOCK.ACQUIRE k o PX 2 BLOCK 1"},
		{one.AcquireBlocking(Forever), "LOCK.ACQUIRE k o PX 2 BLOCK 0"},
		{one.Release(), "LOCK.RELEASE k o"},
		{one.ReleaseHold(7, 0), "LOCK.RELEASE k o FENCE 7"},
		{one.ReleaseHold(7, time.Second), "LOCK.RELEASE k o FENCE 7 COOL 1000"},
		{one.Downgrade(7), "LOCK.RELEASE k o FENCE 7 DOWNGRADE"},
		{one.Extend(7, time.Second), "LOCK.EXTEND k o PX 1000 FENCE 7"},
		{one.Raise(7, time.Second), "LOCK.EXTEND k o PX 1000 RAISE 7"},
		{full.Acquire(), "LOCK.ACQUIRE k o PX 1000 SHARED LIMIT 4 WEIGHT 2 SESSION MAX 60000"},
		{delayed.Acquire(), "LOCK.ACQUIRE k o PX 1000 DELAY 2000"},
		{several.Acquire(), "LOCK.MACQUIRE 2 a b o PX 1000 SHARED"},
		{several.Release(), "LOCK.MRELEASE 2 a b o"},
		{several.ReleaseHold(7, 0), "LOCK.MRELEASE 2 a b o"},
		{several.Extend(7, time.Second), "LOCK.MEXTEND 2 a b o PX 1000"},
		{several.Checks()[1], "LOCK.CHECK b o"},
	} {
		if got := words(c.got); got != c.want {
			t.Errorf("%s, not %s", got, c.want)
		}
	}
}

func words(c Command) string {
	var text []string
	for _, arg := range c {
		text = append(text, strings.TrimSpace(reflect.ValueOf(arg).String()))
		if number := reflect.ValueOf(arg); number.CanInt() {
			text[len(text)-1] = itoa(number.Int())
		}
	}
	return strings.Join(text, " ")
}

func itoa(n int64) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	fine := Request{Keys: []string{"k"}, Owner: "o", Lease: time.Second}
	if err := fine.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Request){
		"no key":            func(r *Request) { r.Keys = nil },
		"65 keys":           func(r *Request) { r.Keys = strings.Split(strings.Repeat("k,", 64)+"k", ",") },
		"a key twice":       func(r *Request) { r.Keys = []string{"a", "b", "a"} },
		"no lease":          func(r *Request) { r.Lease = 0 },
		"too long a lease":  func(r *Request) { r.Lease = LeaseMax + 1 },
		"a max below 0":     func(r *Request) { r.Max = -1 },
		"too long a delay":  func(r *Request) { r.Delay = DelayMax + 1 },
		"a shared delay":    func(r *Request) { r.Delay, r.Mode = time.Second, Shared },
		"no units":          func(r *Request) { r.Mode, r.Weight = Counted, 1 },
		"too many units":    func(r *Request) { r.Mode, r.Limit, r.Weight = Counted, LimitMax+1, 1 },
		"too heavy":         func(r *Request) { r.Mode, r.Limit, r.Weight = Counted, 2, 3 },
		"without a weight":  func(r *Request) { r.Mode, r.Limit = Counted, 2 },
		"delay of several":  func(r *Request) { r.Delay, r.Several = time.Second, true },
		"too long a max":    func(r *Request) { r.Max = LeaseMax + 1 },
		"negative lease":    func(r *Request) { r.Lease = -time.Second },
		"a delay below 0":   func(r *Request) { r.Delay = -1 },
		"a negative weight": func(r *Request) { r.Mode, r.Limit, r.Weight = Counted, 2, -1 },
	} {
		r := fine
		change(&r)
		if r.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestSpanErrsOnTheSafeSide(t *testing.T) {
	t.Parallel()
	const s = time.Second
	span := NewSpan(10*s, 30*s, 0)
	if span.Until != 40*s || span.Bounded() {
		t.Errorf("a grant: %+v", span)
	}
	span.Check(11*s, 12*s, 29*s) // Until 40 to 41 s: nothing new.
	if span.Until != 40*s {
		t.Errorf("a check that says the same: %v", span.Until)
	}
	span.Check(12*s, 13*s, 40*s) // At least until 52 s.
	if span.Until != 52*s {
		t.Errorf("a check that says more: %v", span.Until)
	}
	span.Check(13*s, 14*s, 5*s) // Somebody set a TTL.
	if span.Until != 18*s {
		t.Errorf("a check that says less: %v", span.Until)
	}
	span.Extend(20*s, 10*s)
	if span.Until != 30*s || span.Lease != 10*s {
		t.Errorf("an extension: %+v", span)
	}
	bounded := NewSpan(10*s, 30*s, 45*s)
	bounded.Extend(30*s, 30*s)
	if bounded.Until != 55*s || !bounded.Bounded() {
		t.Errorf("an extension beyond Max: %+v", bounded)
	}
	if first, last := span.RenewIn(0), span.RenewIn(1); first > 10*s/3 || last < 3*s-s/10 || last >= first {
		t.Errorf("renewed after %v to %v", last, first)
	}
}

func TestBackoffGrowsWithJitter(t *testing.T) {
	t.Parallel()
	seen := map[time.Duration]bool{}
	for range 20 {
		b := NewBackoff(20*time.Millisecond, time.Second)
		limit := 20 * time.Millisecond
		for range 10 {
			pause := b.Pause()
			if pause < limit/4 || pause > limit {
				t.Fatalf("a pause of %v with the limit %v", pause, limit)
			}
			seen[pause] = true
			limit = min(2*limit, time.Second)
		}
	}
	if len(seen) < 150 {
		t.Errorf("only %d different pauses", len(seen))
	}
}

// Values of CLUSTER KEYSLOT.
func TestSlots(t *testing.T) {
	t.Parallel()
	for key, slot := range map[string]int{
		"": 0, "123456789": 12739, "foo": 12182, "{foo}bar": 12182, "a{foo}{bar}": 12182, "{}foo": Slot("{}foo"), "bar": 5061,
	} {
		if got := Slot(key); got != slot {
			t.Errorf("%q is in slot %d, not %d", key, got, slot)
		}
	}
	if Slot("{}foo") == Slot("foo") || Slot("a{b") == Slot("b") {
		t.Error("braces without content are a hash tag")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for text, class := range map[string]Class{
		"TRYAGAIN later": Passing, "MOVED 1 a:1": Passing, "ASK 1 a:1": Passing, "UNBLOCKED force": Passing, "LOADING": Passing,
		"READONLY x": Passing, "CLUSTERDOWN x": Passing, "MASTERDOWN x": Passing, "DEADLOCK x": Deadlocked,
		"WRONGTYPE x": WrongType, "NOPERM x": NoPermission, "NOAUTH x": NoPermission, "WRONGPASS x": NoPermission,
		"OOM x": TooMany, "ERR too many (redislock.max-waiters)": TooMany, "ERR x": Final, "MISCONF x": Final, "": Final,
	} {
		if got := (&Refusal{text}).Class(); got != class {
			t.Errorf("%s is of class %d, not %d", text, got, class)
		}
	}
	for text, want := range map[string]string{
		"MOVED 3999 127.0.0.1:6381": "127.0.0.1:6381", "ASK 1 ::1:7000": "[::1]:7000", "MOVED 2 :7000": ":7000",
		"MOVED x a:1": "", "MOVED 99999 a:1": "", "MOVED 1": "", "MOVED 1 nonsense": "", "ERR 1 a:1": "",
	} {
		if _, addr, ok := (&Refusal{text}).Redirection(); addr != want || ok != (want != "") {
			t.Errorf("%s leads to %q", text, addr)
		}
	}
	cycle := (&Refusal{"DEADLOCK waiting would close a cycle: 'a' waits for 'b'... (lock 'x'), 'b'... waits for 'a' (lock 'y'...)"}).Cycle()
	if want := []Wait{{"a", "b", "x"}, {"b", "a", "y"}}; !reflect.DeepEqual(cycle, want) {
		t.Errorf("the cycle is %v", cycle)
	}
}

func TestRepliesThatMakeNoSenseAreErrors(t *testing.T) {
	t.Parallel()
	for _, reply := range []any{"text", []any{int64(1)}, []any{"a", "b"}, true, []any{}} {
		if fences, err := Fences(reply, 2); err == nil {
			t.Errorf("%v is %v", reply, fences)
		}
		if _, held, err := ReadCheck(reply); err == nil {
			t.Errorf("the check %v is %v", reply, held)
		}
		if count, err := Count(reply); err == nil {
			t.Errorf("the count %v is %v", reply, count)
		}
	}
	if fences, err := Fences(nil, 1); fences != nil || err != nil {
		t.Errorf("null is %v, %v", fences, err)
	}
	fields := ReadFields([]any{"a", int64(1), int64(2), "b", "c"})
	if fields.Number("a") != 1 || fields.Text("a") != "" || len(fields.List("a")) != 0 || len(fields) != 1 {
		t.Errorf("the fields are %v", fields)
	}
}

func TestOwnersFitTheServer(t *testing.T) {
	t.Parallel()
	prefix, err := OwnerPrefix("label")
	if err != nil || !strings.HasPrefix(prefix, "label/") {
		t.Fatalf("%s, %v", prefix, err)
	}
	if owner := NewOwner(prefix); !strings.HasPrefix(owner, prefix+"/") || NewOwner(prefix) == owner {
		t.Errorf("the owner is %s", owner)
	}
	if _, err := OwnerPrefix(strings.Repeat("x", OwnerMax)); err == nil {
		t.Error("a label that is too long is accepted")
	}
	longest, _ := OwnerPrefix("")
	longest, err = OwnerPrefix(strings.Repeat("x", OwnerMax-randomLength-1-len(longest)-1))
	if err != nil || len(NewOwner(longest)) != OwnerMax {
		t.Errorf("the longest owner has %d bytes, %v", len(NewOwner(longest)), err)
	}
	if name := ConnectionName("a b\n/ü"); strings.ContainsAny(name, " \nü") {
		t.Errorf("the name of the connection is %q", name)
	}
}

// A machine that sleeps: the wall clock goes on, the monotonic one does not.
func TestClockGoesByTheFasterOne(t *testing.T) {
	t.Parallel()
	if before := Now(); Now() < before {
		t.Error("the clock goes back")
	}
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := newTwoClocks(func() time.Time { return now })
	now = now.Add(time.Minute)
	if got := clock.now(); got != time.Minute {
		t.Errorf("it is %v", got)
	}
	now = now.Add(-time.Hour) // Somebody sets the wall clock back.
	if got := clock.now(); got != time.Minute {
		t.Errorf("it is %v after the wall clock was set back", got)
	}
}
