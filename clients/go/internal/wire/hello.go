package wire

import (
	"context"

	"example.com/redis-lock/clients/go/internal/core"
)

// Greeting is what a connection begins with.
type Greeting struct {
	Username, Password string
	DB                 int
	// Name is for CLIENT LIST.
	Name string
	// OldProtocol asks for RESP2, in which a server cannot tell of changes over the same connection.
	OldProtocol bool
	// Version is the version of this package.
	Version string
}

// Greet logs in and names the connection. It says whether the server tells of changes over it.
func (c *Conn) Greet(ctx context.Context, g Greeting) (pushes bool, err error) {
	first := core.Command{"PING"}
	login := core.Command{"AUTH", g.Password}
	if g.Username != "" {
		login = core.Command{"AUTH", g.Username, g.Password}
	}
	needsLogin := g.Username != "" || g.Password != ""
	switch {
	case !g.OldProtocol && needsLogin:
		username := g.Username
		if username == "" {
			username = "default"
		}
		first = core.Command{"HELLO", 3, "AUTH", username, g.Password}
	case !g.OldProtocol:
		first = core.Command{"HELLO", 3}
	case needsLogin:
		first = login
	}
	replies, err := c.Post(first).Wait(ctx)
	if err != nil {
		return false, err
	}
	pushes = !g.OldProtocol
	if refusal, ok := replies[0].(*core.Refusal); ok {
		if !pushes || refusal.Code() == "WRONGPASS" || refusal.Code() == "NOAUTH" {
			return false, refusal
		}
		// A proxy, or a user without the right to HELLO.
		pushes = false
		if needsLogin {
			if replies, err = c.Post(login).Wait(ctx); err != nil {
				return false, err
			}
			if refusal, ok := replies[0].(*core.Refusal); ok {
				return false, refusal
			}
		}
	}
	commands := []core.Command{
		{"CLIENT", "SETNAME", g.Name},
		{"CLIENT", "SETINFO", "LIB-NAME", "redis-lock-go"},
		{"CLIENT", "SETINFO", "LIB-VER", g.Version},
	}
	if g.DB != 0 {
		commands = append(commands, core.Command{"SELECT", g.DB})
	}
	// A server or a user without some of the first three works as well.
	replies, err = c.Post(commands...).Wait(ctx)
	if err != nil {
		return false, err
	}
	if refusal, ok := replies[len(replies)-1].(*core.Refusal); ok && g.DB != 0 {
		return false, refusal
	}
	return pushes, nil
}
