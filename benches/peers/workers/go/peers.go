package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// errGaveUp says that the library waits no longer; whoever wants the lock asks again.
var errGaveUp = errors.New("the library gave up")

// lock acquires, waiting as the library does, and returns what releases.
type lock func(ctx context.Context, key string) (release func() error, err error)

// system is one library, connected.
type system interface {
	// client connects one of the job's clients.
	client(ctx context.Context) (lock, error)
	// giveUp ends the waits that the end of the context does not end. Holders must still be able to release.
	giveUp()
	// close is called when every client has ended. An error is what the library kept to itself.
	close() error
}

// peer is one row of the benchmark.
type peer struct {
	name, row string
	// library and client are the paths of Go modules.
	library, driver string
	settings        string
	links           []string
	open            func(ctx context.Context, job *Job) (system, error)
}

// peers are all rows. What else a library needs than its settings is told where it is opened.
func peers() []peer {
	rows := []peer{redisLock, bareCommands, setNxDel, setNxEvalsha, setNxDelex}
	rows = append(rows, redsyncRows...)
	rows = append(rows, bsmRows...)
	rows = append(rows, rueidisRows...)
	return append(rows, etcdMutex, postgresAdvisory)
}

func find(name, row string) (peer, error) {
	for _, p := range peers() {
		if p.name == name && p.row == row {
			return p, nil
		}
	}
	return peer{}, fmt.Errorf("there is no peer %q with a row %q", name, row)
}

func about() (all []About) {
	for _, p := range peers() {
		all = append(all, p.about())
	}
	return all
}

func (p peer) about() About {
	library, version := p.library, moduleVersion(p.library)
	if library == "" {
		library, version = "commands by hand", "-"
	}
	client := fmt.Sprintf("%s %s", p.driver, moduleVersion(p.driver))
	return About{p.name, p.row, library, version, client, p.settings, p.links}
}

// moduleVersion is what this program was built with.
func moduleVersion(path string) string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, module := range build.Deps {
		if module.Path == path {
			return module.Version
		}
	}
	return "unknown"
}
