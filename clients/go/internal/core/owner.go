package core

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
)

// OwnerMax is the longest owner that the server takes, in bytes.
const OwnerMax = 1024

// randomLength is how many letters of rand.Text, of 5 bits each, an owner ends with.
const randomLength = 16

// OwnerPrefix is `label/host/pid`, so that LOCK.INFO leads to the process.
func OwnerPrefix(label string) (string, error) {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	prefix := fmt.Sprintf("%s/%d", cmp.Or(host, "unknown"), os.Getpid())
	if label != "" {
		prefix = label + "/" + prefix
	}
	if longest := OwnerMax - randomLength - 1; len(prefix) > longest {
		return "", fmt.Errorf("the label is too long: label, host and process id may take %d bytes together, not %d",
			longest, len(prefix))
	}
	return prefix, nil
}

// NewOwner is a name that nobody else has, 80 random bits behind the prefix.
func NewOwner(prefix string) string {
	return prefix + "/" + rand.Text()[:randomLength]
}

// ConnectionName is the prefix as CLIENT SETNAME takes it: printable, and without spaces.
func ConnectionName(prefix string) string {
	return strings.Map(func(r rune) rune {
		if r < '!' || r > '~' {
			return '_'
		}
		return r
	}, "redis-lock:"+prefix)
}
