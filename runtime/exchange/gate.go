package exchange

import (
	"errors"
	"sync"
)

// queueDepth bounds the frames that wait in one input channel. Waiting frames delay the barriers behind them.
const queueDepth = 4

// ErrClosed is in the chain of errors from a Gate that was closed.
var ErrClosed = errors.New("exchange closed")

// Gate is the input of one subtask: a bounded queue for each channel. Channels that are not blocked are read in turn.
//
// Only the subtask's goroutine may call Poll, Block and Unblock. Each channel has one sender. Fail and Close are safe
// at any time.
type Gate struct {
	wake chan struct{}
	done chan struct{}

	mu     sync.Mutex
	queues []queue
	// ready are the channels that have frames and are not blocked, each once, in the order in which they are read.
	ready []int
	// err is why the gate ended; done is closed then.
	err error
}

type queue struct {
	frames  []*Frame
	blocked bool
	listed  bool // true if the channel is in ready
	// space has a token when the sender may try again.
	space chan struct{}
}

// NewGate returns a gate with this number of channels.
func NewGate(channels int) *Gate {
	g := &Gate{wake: make(chan struct{}, 1), done: make(chan struct{}), queues: make([]queue, channels)}
	for i := range g.queues {
		g.queues[i].space = make(chan struct{}, 1)
	}
	return g
}

// Channels returns the number of input channels.
func (g *Gate) Channels() int { return len(g.queues) }

// Link returns the sending side of a channel whose sender is in the same process.
func (g *Gate) Link(channel int) Link { return localLink{g, channel} }

// Wake returns a channel that has a token when Poll may have a new frame.
func (g *Gate) Wake() <-chan struct{} { return g.wake }

// Poll returns the next frame, or nil if there is none now. After Fail or Close it returns the gate's error.
func (g *Gate) Poll() (channel int, f *Frame, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return 0, nil, g.err
	}
	if len(g.ready) == 0 {
		return 0, nil, nil
	}
	channel = g.ready[0]
	g.ready = append(g.ready[:0], g.ready[1:]...)
	q := &g.queues[channel]
	q.listed = false
	f = q.frames[0]
	q.frames = append(q.frames[:0], q.frames[1:]...)
	g.listLocked(channel)
	select {
	case q.space <- struct{}{}:
	default:
	}
	return channel, f, nil
}

// Block leaves the frames of a channel in its queue.
func (g *Gate) Block(channel int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	q := &g.queues[channel]
	q.blocked = true
	if q.listed {
		q.listed = false
		for i, c := range g.ready {
			if c == channel {
				g.ready = append(g.ready[:i], g.ready[i+1:]...)
				break
			}
		}
	}
}

// Unblock reads the channel again.
func (g *Gate) Unblock(channel int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queues[channel].blocked = false
	g.listLocked(channel)
}

// Fail ends the gate: Poll and every sender return err. Only the first call counts.
func (g *Gate) Fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return
	}
	g.err = err
	close(g.done)
	g.signal()
}

// Close ends the gate.
func (g *Gate) Close() { g.Fail(ErrClosed) }

// push waits until the channel's queue has room.
func (g *Gate) push(channel int, f *Frame) error {
	for {
		g.mu.Lock()
		q := &g.queues[channel]
		switch {
		case g.err != nil:
			g.mu.Unlock()
			return g.err
		case len(q.frames) < queueDepth:
			q.frames = append(q.frames, f)
			g.listLocked(channel)
			g.mu.Unlock()
			return nil
		}
		g.mu.Unlock()
		select {
		case <-q.space:
		case <-g.done:
		}
	}
}

func (g *Gate) listLocked(channel int) {
	q := &g.queues[channel]
	if q.listed || q.blocked || len(q.frames) == 0 {
		return
	}
	q.listed = true
	g.ready = append(g.ready, channel)
	g.signal()
}

func (g *Gate) signal() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

type localLink struct {
	gate    *Gate
	channel int
}

func (l localLink) Send(f *Frame) error { return l.gate.push(l.channel, f) }

// Close does nothing, because the gate belongs to the reader.
func (l localLink) Close() error { return nil }
