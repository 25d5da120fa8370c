package redistest

import (
	"os"
	"os/exec"
	"testing"
)

// asProgram in the environment makes a test binary the program that it tests.
const asProgram = "REDISTEST_AS_PROGRAM"

// Main is for TestMain of a package main: with it [Program] can start that as a process of its own.
func Main(m *testing.M, program func()) {
	if os.Getenv(asProgram) != "" {
		program()
		return
	}
	m.Run()
}

// Program is the program under test as a process of its own, which ends with the test at the latest. NAME=value in env.
func Program(t testing.TB, env []string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), path, args...)
	command.Env = append(os.Environ(), asProgram+"=yes")
	command.Env = append(command.Env, env...)
	command.Stderr = os.Stderr
	command.SysProcAttr = diesWithParent()
	return command
}
