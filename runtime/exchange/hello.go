package exchange

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	helloVersion = 1
	maxHello     = 4 << 10
	// helloTimeout bounds how long a caller may take to send its hello, and how long writing an answer may take.
	helloTimeout = 10 * time.Second
)

// ErrRefused is in the chain when the other side refused a channel: it belongs to another job, to an attempt that is
// over, or its task does not have it.
var ErrRefused = errors.New("channel refused")

// ErrLost is in the chain when a channel's connection broke: the worker at its other end has ended, or has left the
// attempt.
var ErrLost = errors.New("channel lost")

func lost(ch Channel, err error) error {
	return fmt.Errorf("exchange: %v: %w: %w", ch, ErrLost, err)
}

// Endpoint is a subtask as the exchange names it.
type Endpoint struct {
	Task  string `json:"task"`
	Index int    `json:"index"`
}

// String formats the endpoint as "task/index".
func (e Endpoint) String() string { return fmt.Sprintf("%s/%d", e.Task, e.Index) }

// Channel names one record channel of an attempt.
type Channel struct {
	From Endpoint `json:"from"`
	To   Endpoint `json:"to"`
}

// String formats the channel as "from -> to".
func (c Channel) String() string { return c.From.String() + " -> " + c.To.String() }

// hello is the first message of a connection; the sender of records sends it.
type hello struct {
	Version int    `json:"version"`
	Job     string `json:"job"`
	Attempt uint64 `json:"attempt"`
	Channel
}

// answer is the reply. Records follow if Refused is empty.
type answer struct {
	Refused string `json:"refused,omitempty"`
}

// writeMessage writes a length-prefixed JSON text.
func writeMessage(c net.Conn, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.SetWriteDeadline(time.Now().Add(helloTimeout))
	defer c.SetWriteDeadline(time.Time{})
	_, err = c.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

func readMessage(r io.Reader, v any) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n > maxHello {
		return fmt.Errorf("handshake of %d bytes, want at most %d", n, maxHello)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}
