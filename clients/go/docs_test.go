package lock_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the blocks on the pages use without declaring it.
const preamble = `package docs

import (
	"context"
	"errors"
	"log/slog"
	"time"

	lock "example.com/redis-lock/clients/go"
	"example.com/redis-lock/clients/go/locktest"
	lockotel "example.com/redis-lock/clients/go/otel"
	lockrueidis "example.com/redis-lock/clients/go/rueidis"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"go.opentelemetry.io/otel"
)

var (
	_ = errors.As
	_ = slog.Error
	_ = time.Second
	_ = locktest.New
	_ = lockotel.Hooks
	_ = lockrueidis.New
	_ rueidis.ClientOption
	_ = otel.GetMeterProvider
	_ lock.Option
	_ redis.UniversalClient

	rdb, one, two, three redis.UniversalClient
	ctx                  context.Context
)

func save(context.Context, int64) error     { return nil }
func schedule(context.Context, int64) error { return nil }
func report(context.Context) error          { return nil }
func use(...any)                            {}
`

var (
	block    = regexp.MustCompile("(?s)```go\n(.*?)```")
	declares = regexp.MustCompile(`(?m)^(\w+(?:, \w+)*) :?= `)
)

// Each block of the pages is the body of a function. Those that begin with a lock or a client that an earlier block made get
// one.
func TestPagesCompile(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../docs/clients/go*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, "README.md")
	if len(pages) != 5 {
		t.Fatalf("these are not all pages: %v", pages)
	}
	source := preamble
	blocks := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range block.FindAllStringSubmatch(string(text), -1) {
			blocks++
			source += function(fmt.Sprintf("%s, block %d", page, blocks), blocks, match[1])
		}
	}
	if blocks < 12 {
		t.Fatalf("%d blocks were found", blocks)
	}
	compile(t, source)
}

func function(comment string, number int, body string) string {
	parameters := "c *lock.Client, h *lock.Hold"
	declared := map[string]bool{}
	var uses []string
	for _, match := range declares.FindAllStringSubmatch(body, -1) {
		for name := range strings.SplitSeq(match[1], ", ") {
			if !declared[name] && name != "_" {
				declared[name] = true
				uses = append(uses, name)
			}
		}
	}
	text := fmt.Sprintf("\n// %s\nfunc block%d(%s) error {\n\tuse(c, h)\n\t{\n%s", comment, number, parameters, body)
	if !strings.Contains(body[strings.LastIndex(strings.TrimSpace(body), "\n")+1:], "return ") {
		text += "\t\tuse(" + strings.Join(uses, ", ") + ")\n\t\treturn nil\n"
	}
	return text + "\t}\n}\n"
}

// compile builds it in a module of its own, with the versions of the driver of the conformance suite and the adapters.
func compile(t *testing.T, source string) {
	t.Helper()
	dir := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	work := fmt.Sprintf("go 1.25.0\n\nuse (\n\t.\n\t%[1]s\n\t%[1]s/otel\n\t%[1]s/rueidis\n)\n", here)
	for name, text := range map[string]string{
		"docs.go": source, "go.mod": "module docs\n\ngo 1.25.0\n", "go.work": work,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command("go", "vet", ".")
	command.Dir = dir
	command.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, output, source)
	}
}
