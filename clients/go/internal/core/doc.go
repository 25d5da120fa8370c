// Package core holds what needs no I/O: the commands and their replies, the classes of refusals, owners, clocks, back-off,
// and the time that a hold surely lasts.
package core
