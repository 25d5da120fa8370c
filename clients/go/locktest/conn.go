package locktest

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"example.com/redis-lock/clients/go/internal/wire"
)

// conn is a connection. As in Redis, commands behind one that waits are read when the wait has ended.
type conn struct {
	server *Server
	nc     net.Conn
	id     int64

	// Guarded by the server's mutex.
	tracks  bool
	watched map[string]bool

	commands chan []string
	done     chan struct{} // Closed when the connection has ended.

	mu   sync.Mutex
	out  []byte
	wake chan struct{}
}

// read reads commands, so that the end of the connection is noticed also while one of them waits.
func (c *conn) read() {
	defer close(c.done)
	defer close(c.commands)
	defer c.nc.Close()
	from := bufio.NewReader(c.nc)
	for {
		words, err := wire.ReadCommand(from)
		if err != nil {
			return
		}
		c.commands <- words
	}
}

// execute runs commands, one after the other.
func (c *conn) execute() {
	defer c.server.gone(c)
	for words := range c.commands {
		answered := make(chan struct{})
		c.server.execute(c, words, func(reply any) {
			c.send(reply)
			close(answered)
		})
		select {
		case <-answered:
		case <-c.done:
			return
		}
	}
}

func (c *conn) write() {
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		c.mu.Lock()
		out := c.out
		c.out = nil
		c.mu.Unlock()
		if _, err := c.nc.Write(out); err != nil {
			_ = c.nc.Close()
			return
		}
	}
}

func (c *conn) send(reply any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = appendReply(c.out, reply)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *conn) push(key string) {
	c.send(pushed{"invalidate", []any{key}})
}

type (
	status  string
	failure string
	pushed  []any
)

// appendReply writes RESP3. The client reads that whatever it asked for.
func appendReply(to []byte, reply any) []byte {
	switch reply := reply.(type) {
	case nil:
		return append(to, "_\r\n"...)
	case int:
		return appendReply(to, int64(reply))
	case int64:
		return append(strconv.AppendInt(append(to, ':'), reply, 10), "\r\n"...)
	case status:
		return append(to, "+"+string(reply)+"\r\n"...)
	case failure:
		return append(to, "-"+strings.NewReplacer("\r", " ", "\n", " ").Replace(string(reply))+"\r\n"...)
	case string:
		to = append(strconv.AppendInt(append(to, '$'), int64(len(reply)), 10), "\r\n"...)
		return append(append(to, reply...), "\r\n"...)
	case pushed:
		return appendMany(to, '>', reply)
	case []any:
		return appendMany(to, '*', reply)
	}
	return appendReply(to, failure(fmt.Sprintf("ERR the server in memory cannot send %T", reply)))
}

func appendMany(to []byte, kind byte, many []any) []byte {
	to = append(strconv.AppendInt(append(to, kind), int64(len(many)), 10), "\r\n"...)
	for _, one := range many {
		to = appendReply(to, one)
	}
	return to
}
