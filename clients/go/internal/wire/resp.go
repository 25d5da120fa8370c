// Package wire speaks the protocol of Redis over one connection. Unlike the client libraries it can send a command behind
// one that blocks, which is how a wait is cancelled.
package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"example.com/redis-lock/clients/go/internal/core"
)

// Bounds of what is read, so that no peer makes this process run out of memory.
const (
	lineMax     = 64 << 10
	bulkMax     = 64 << 20
	elementsMax = 1 << 20
	depthMax    = 16
)

var errProtocol = errors.New("the peer does not speak the protocol of Redis")

// appendCommand appends a command in the form in which clients send it.
func appendCommand(to []byte, command core.Command) []byte {
	to = append(to, '*')
	to = strconv.AppendInt(to, int64(len(command)), 10)
	to = append(to, '\r', '\n')
	var number [20]byte
	for _, arg := range command {
		switch arg := arg.(type) {
		case string:
			to = appendBulk(to, arg)
		case int:
			to = appendBulk(to, string(strconv.AppendInt(number[:0], int64(arg), 10)))
		case int64:
			to = appendBulk(to, string(strconv.AppendInt(number[:0], arg, 10)))
		default:
			to = appendBulk(to, fmt.Sprint(arg))
		}
	}
	return to
}

func appendBulk(to []byte, text string) []byte {
	to = append(to, '$')
	to = strconv.AppendInt(to, int64(len(text)), 10)
	to = append(to, '\r', '\n')
	to = append(to, text...)
	return append(to, '\r', '\n')
}

// ReadCommand reads a command as a server does.
func ReadCommand(from *bufio.Reader) ([]string, error) {
	reply, err := read(from, 0)
	if err != nil {
		return nil, err
	}
	parts, _ := reply.([]any)
	var words []string
	for _, part := range parts {
		word, ok := part.(string)
		if !ok {
			return nil, errProtocol
		}
		words = append(words, word)
	}
	if len(words) == 0 {
		return nil, errProtocol
	}
	return words, nil
}

// push is something that the server sends without being asked.
type push []any

// read reads one reply, in RESP2 or RESP3.
func read(from *bufio.Reader, depth int) (any, error) {
	if depth > depthMax {
		return nil, fmt.Errorf("%w: replies are nested too deeply", errProtocol)
	}
	line, err := readLine(from)
	if err != nil {
		return nil, err
	}
	if len(line) == 0 {
		return nil, fmt.Errorf("%w: an empty line", errProtocol)
	}
	kind, rest := line[0], string(line[1:])
	switch kind {
	case '+', '(':
		return rest, nil
	case '-':
		return &core.Refusal{Text: rest}, nil
	case ':':
		return number(rest)
	case '_':
		return nil, nil
	case '#':
		return rest == "t", nil
	case ',':
		return strconv.ParseFloat(rest, 64)
	case '$', '=', '!':
		return readBulk(from, kind, rest)
	case '*', '~', '>', '%', '|':
		return readMany(from, kind, rest, depth)
	}
	return nil, fmt.Errorf("%w: a reply begins with %q", errProtocol, kind)
}

func readBulk(from *bufio.Reader, kind byte, length string) (any, error) {
	size, err := number(length)
	if err != nil || size < 0 {
		return nil, err
	}
	if size > bulkMax {
		return nil, fmt.Errorf("%w: a string of %d bytes", errProtocol, size)
	}
	bulk := make([]byte, size+2)
	if _, err := io.ReadFull(from, bulk); err != nil {
		return nil, err
	}
	text := string(bulk[:size])
	switch {
	case kind == '!':
		return &core.Refusal{Text: text}, nil
	case kind == '=' && len(text) > 4:
		return text[4:], nil
	}
	return text, nil
}

func readMany(from *bufio.Reader, kind byte, length string, depth int) (any, error) {
	size, err := number(length)
	if err != nil || size < 0 {
		return nil, err
	}
	if size > elementsMax {
		return nil, fmt.Errorf("%w: an array of %d elements", errProtocol, size)
	}
	if kind == '%' || kind == '|' {
		size *= 2
	}
	many := make([]any, 0, min(size, 1024))
	for range size {
		one, err := read(from, depth+1)
		if err != nil {
			return nil, err
		}
		many = append(many, one)
	}
	switch kind {
	case '>':
		return push(many), nil
	case '|': // Attributes of the reply that follows.
		return read(from, depth+1)
	}
	return many, nil
}

func number(text string) (int64, error) {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %q where a number should be", errProtocol, text)
	}
	return value, nil
}

// readLine is a line without its end. It is valid until the next read.
func readLine(from *bufio.Reader) ([]byte, error) {
	line, err := from.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) && len(long) <= lineMax {
			line, err = from.ReadSlice('\n')
			long = append(long, line...)
		}
		line = long
	}
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("%w: a line of more than %d bytes", errProtocol, lineMax)
	}
	if err != nil {
		return nil, err
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, fmt.Errorf("%w: a line without its end", errProtocol)
	}
	return line[:len(line)-2], nil
}
