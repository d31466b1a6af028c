package exchange

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Input is the gate, and the channel of it, that receives the frames of a Channel.
type Input struct {
	Gate    *Gate
	Channel int
}

// Server accepts the channels of other workers for the attempt that runs here. It refuses channels of a lower
// attempt. Channels of a higher attempt wait until this worker's own Start has come. All methods are safe for
// concurrent use.
type Server struct {
	job      string
	listener net.Listener
	wg       sync.WaitGroup

	mu sync.Mutex
	// attempt is the highest attempt that was begun or ended.
	attempt uint64
	// inputs of the attempt that are not connected yet; nil if the attempt has ended.
	inputs map[Channel]Input
	// conns are the connections that were accepted, with their attempts. End and Close close them.
	conns  map[net.Conn]uint64
	closed bool
	// change is closed and replaced whenever attempt or closed changes.
	change chan struct{}
}

// NewServer serves a listener for one job until Close.
func NewServer(l net.Listener, job string) *Server {
	s := &Server{job: job, listener: l, conns: map[net.Conn]uint64{}, change: make(chan struct{})}
	s.wg.Go(s.accept)
	return s
}

// Begin accepts the channels of an attempt that is higher than all before.
func (s *Server) Begin(attempt uint64, inputs map[Channel]Input) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if attempt <= s.attempt || s.closed {
		return fmt.Errorf("exchange: begin attempt %d: attempt %d was begun before, or the server is closed", attempt, s.attempt)
	}
	s.attempt = attempt
	s.inputs = make(map[Channel]Input, len(inputs))
	for c, in := range inputs {
		s.inputs[c] = in
	}
	s.changedLocked()
	return nil
}

// End closes the channels of attempts up to this one. Frames that still arrive reach no gate once the gates are
// closed.
func (s *Server) End(attempt uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempt = max(s.attempt, attempt)
	if s.attempt == attempt {
		s.inputs = nil
	}
	for c, a := range s.conns {
		if a <= attempt {
			c.Close()
		}
	}
	s.changedLocked()
}

// Close ends the server and all its channels, and waits for its goroutines.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.changedLocked()
	s.mu.Unlock()
	err := s.listener.Close()
	s.wg.Wait()
	return err
}

func (s *Server) changedLocked() {
	close(s.change)
	s.change = make(chan struct{})
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			if s.over() {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of file descriptors; the next Accept may succeed
			continue
		}
		s.wg.Go(func() { s.serve(c) })
	}
}

func (s *Server) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Server) serve(c net.Conn) {
	defer c.Close()
	// Until the caller has named its attempt, only Close closes the connection.
	if !s.track(c, ^uint64(0)) {
		return
	}
	defer s.untrack(c)
	bound(c)
	c.SetReadDeadline(time.Now().Add(helloTimeout))
	var h hello
	if err := readMessage(c, &h); err != nil {
		return
	}
	c.SetReadDeadline(time.Time{})
	if !s.track(c, h.Attempt) {
		return
	}
	in, err := s.admit(c, h)
	if err != nil {
		writeMessage(c, answer{Refused: err.Error()})
		return
	}
	if err := writeMessage(c, answer{}); err != nil {
		in.Gate.Fail(lost(h.Channel, err))
		return
	}
	if err := pump(c, in); err != nil {
		in.Gate.Fail(lost(h.Channel, err))
	}
}

func (s *Server) track(c net.Conn, attempt uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = attempt
	return !s.closed
}

func (s *Server) untrack(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// admit returns the input of a channel. It waits while the channel's attempt is higher than this worker's.
func (s *Server) admit(c net.Conn, h hello) (Input, error) {
	if h.Version != helloVersion || h.Job != s.job {
		return Input{}, fmt.Errorf("this worker runs job %s, with version %d of the handshake", s.job, helloVersion)
	}
	for {
		s.mu.Lock()
		change := s.change
		switch {
		case s.closed:
			s.mu.Unlock()
			return Input{}, errors.New("this worker is ending")
		case h.Attempt < s.attempt || (h.Attempt == s.attempt && s.inputs == nil):
			s.mu.Unlock()
			return Input{}, fmt.Errorf("attempt %d is over", h.Attempt)
		case h.Attempt == s.attempt:
			in, ok := s.inputs[h.Channel]
			delete(s.inputs, h.Channel)
			s.mu.Unlock()
			if !ok {
				return Input{}, fmt.Errorf("channel %v is not expected, or connected already", h.Channel)
			}
			return in, nil
		}
		s.mu.Unlock()
		if err := hold(c, change); err != nil {
			return Input{}, err
		}
	}
}

// hold waits for a change, or until the caller gives up. The caller sends nothing before it has its answer.
func hold(c net.Conn, change <-chan struct{}) error {
	gone := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		gone <- err
	}()
	select {
	case <-change:
		c.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
		err := <-gone
		c.SetReadDeadline(time.Time{})
		if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
			return nil
		}
		return fmt.Errorf("the caller went away: %w", cmpErr(err))
	case err := <-gone:
		return fmt.Errorf("the caller went away: %w", cmpErr(err))
	}
}

// cmpErr returns errFrame if the caller sent a byte where it must send nothing.
func cmpErr(err error) error {
	if err == nil {
		return errFrame
	}
	return err
}

// pump moves frames from a connection to its gate until the sender's End.
func pump(c net.Conn, in Input) error {
	r := bufio.NewReaderSize(c, 4<<10)
	for {
		f, err := readFrame(r)
		if err != nil {
			return err
		}
		end := f.Kind == End
		if err := in.Gate.push(in.Channel, f); err != nil {
			return nil // the gate has its own error
		}
		if end {
			// The sender closes after End. Waiting for it lets the sender see that everything has arrived.
			io.Copy(io.Discard, c)
			return nil
		}
	}
}
