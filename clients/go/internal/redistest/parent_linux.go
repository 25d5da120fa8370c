package redistest

import "syscall"

// diesWithParent lets the system kill a process when the test process ends, whatever ended that.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
