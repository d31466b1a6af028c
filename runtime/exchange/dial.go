package exchange

import (
	"context"
	"fmt"
	"net"
	"time"
)

const (
	firstDialPause   = 5 * time.Millisecond
	longestDialPause = 500 * time.Millisecond
)

// Dial opens a channel to another worker. It tries until the worker accepts the channel, refuses it (ErrRefused), or
// ctx ends. It repeats other errors, because the other worker may just be starting.
func Dial(ctx context.Context, n Network, address, job string, attempt uint64, ch Channel) (Link, error) {
	pause := firstDialPause
	for {
		l, err := dialOnce(ctx, n, address, hello{Version: helloVersion, Job: job, Attempt: attempt, Channel: ch})
		if err == nil || ctx.Err() != nil || isRefusal(err) {
			return l, wrapDial(ch, address, err)
		}
		select {
		case <-ctx.Done():
			return nil, wrapDial(ch, address, err)
		case <-time.After(pause):
		}
		pause = min(2*pause, longestDialPause)
	}
}

func wrapDial(ch Channel, address string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("exchange: connect %v at %s: %w", ch, address, err)
}

type refusal string

func (r refusal) Error() string        { return ErrRefused.Error() + ": " + string(r) }
func (r refusal) Is(target error) bool { return target == ErrRefused }

func isRefusal(err error) bool {
	_, ok := err.(refusal)
	return ok
}

func dialOnce(ctx context.Context, n Network, address string, h hello) (Link, error) {
	c, err := n.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	bound(c)
	// The answer comes only after the other worker's Start.
	stop := context.AfterFunc(ctx, func() { c.Close() })
	var a answer
	if err = writeMessage(c, h); err == nil {
		err = readMessage(c, &a)
	}
	switch {
	case !stop():
		c.Close()
		return nil, context.Cause(ctx)
	case err != nil:
		c.Close()
		return nil, err
	case a.Refused != "":
		c.Close()
		return nil, refusal(a.Refused)
	}
	return &socketLink{conn: c, channel: h.Channel}, nil
}

type socketLink struct {
	conn    net.Conn
	channel Channel
}

func (l *socketLink) Send(f *Frame) error {
	err := f.writeTo(l.conn)
	f.Release()
	if err != nil {
		return lost(l.channel, err)
	}
	return nil
}

func (l *socketLink) Close() error { return l.conn.Close() }
