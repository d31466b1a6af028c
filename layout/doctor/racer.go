package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ckptd/ckptd/layout/storage"
)

// A Racer does a task at the same moment as other racers, over a store that it opened itself.
type Racer interface {
	// Ready prepares for a task: it looks at the keys once, as a reader does that comes too early. Every Ready without
	// an error is followed by a Go.
	Ready(ctx context.Context, t Task) error
	// Go waits until the moment, does the task and returns its outcome.
	Go(ctx context.Context, at time.Time) (Answer, error)
	// Close ends the racer.
	Close() error
}

// Task is what several racers do at once.
type Task struct {
	// Publish: write the keys, each with the author's own content of Size bytes, and read them back. Otherwise only
	// read them.
	Publish bool `json:"publish,omitempty"`
	// Author is this racer's number.
	Author int      `json:"author"`
	Keys   []string `json:"keys"`
	Size   int      `json:"size"`
	// Prefix to list.
	Prefix string `json:"prefix,omitempty"`
}

// Answer has an Outcome for each key of the task.
type Answer struct {
	Outcomes []Outcome `json:"outcomes"`
	// ListError says why the list failed.
	ListError string `json:"listError,omitempty"`
}

// Outcome is what one racer was told and saw of one key.
type Outcome struct {
	Told Told `json:"told,omitempty"`
	// Error of the Publish.
	Error string `json:"error,omitempty"`
	// Seen is the result of reading the whole object; Author and Size describe what was read.
	Seen   Seen `json:"seen,omitempty"`
	Author int  `json:"author,omitempty"`
	Size   int  `json:"size,omitempty"`
	// ReadError of the read.
	ReadError string `json:"readError,omitempty"`
	// Statted: Stat found the object. Listed: the list showed it.
	Statted bool `json:"statted,omitempty"`
	Listed  bool `json:"listed,omitempty"`
}

// Told is the result of a Publish.
type Told string

// The results of a Publish.
const (
	ToldWon     Told = "won"
	ToldLost    Told = "lost"
	ToldUnknown Told = "unknown"
	ToldFailed  Told = "failed"
)

// Seen is the result of a read.
type Seen string

// The results of a read.
const (
	SeenWhole  Seen = "whole"
	SeenTorn   Seen = "torn"
	SeenAbsent Seen = "absent"
	SeenFailed Seen = "failed"
)

// content returns what an author writes under a key.
func content(author int, key string, size int) []byte {
	line := fmt.Appendf(nil, "%d wrote %s\n", author, key)
	return bytes.Repeat(line, size/len(line)+1)[:size]
}

// authorOf returns the author of data; whole: data is that author's complete content.
func authorOf(data []byte, key string, size int) (author int, whole bool) {
	if _, err := fmt.Sscanf(string(data[:min(len(data), 20)]), "%d wrote", &author); err != nil {
		return 0, false
	}
	return author, bytes.Equal(data, content(author, key, size))
}

// NewRacer returns a racer over a store of this process. Its Close closes the store.
func NewRacer(opened storage.Opened) Racer { return &racer{opened: opened} }

type racer struct {
	opened storage.Opened
	task   Task
}

// Ready implements Racer.
func (r *racer) Ready(ctx context.Context, t Task) error {
	r.task = t
	for _, key := range t.Keys {
		// A store may remember that the object was absent; that must do no harm.
		if _, err := r.opened.Store.Stat(ctx, key); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	if t.Prefix != "" {
		_, err := list(ctx, r.opened.Store, t.Prefix)
		return err
	}
	return nil
}

// Go implements Racer.
func (r *racer) Go(ctx context.Context, at time.Time) (Answer, error) {
	a := Answer{Outcomes: make([]Outcome, len(r.task.Keys))}
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i, key := range r.task.Keys {
		data := content(r.task.Author, key, r.task.Size)
		all.Go(func() {
			<-begin
			a.Outcomes[i] = r.one(ctx, key, data)
		})
	}
	sleep(ctx, time.Until(at))
	close(begin)
	if r.task.Prefix != "" {
		keys, err := list(ctx, r.opened.Store, r.task.Prefix)
		if err != nil {
			a.ListError = err.Error()
		}
		all.Wait()
		for i, key := range r.task.Keys {
			a.Outcomes[i].Listed = slices.Contains(keys, key)
		}
	}
	all.Wait()
	return a, nil
}

// Close implements Racer.
func (r *racer) Close() error { return r.opened.Close() }

func (r *racer) one(ctx context.Context, key string, data []byte) (o Outcome) {
	if r.task.Publish {
		err := r.opened.Store.Publish(ctx, key, data)
		o.Told = toldBy(err)
		if err != nil {
			o.Error = err.Error()
		}
		if o.Told != ToldWon && o.Told != ToldLost {
			return o
		}
	} else if _, err := r.opened.Store.Stat(ctx, key); err == nil {
		o.Statted = true
	} else if !errors.Is(err, storage.ErrNotFound) { // an error says nothing about the object
		o.Seen, o.ReadError = SeenFailed, err.Error()
		return o
	}
	got, err := readRange(ctx, r.opened.Store, key, 0, -1)
	author, whole := authorOf(got, key, r.task.Size)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		o.Seen = SeenAbsent
	case errors.Is(err, io.ErrUnexpectedEOF):
		o.Seen, o.Size = SeenTorn, len(got)
	case err != nil:
		o.Seen, o.ReadError = SeenFailed, err.Error()
	case !whole:
		o.Seen, o.Size = SeenTorn, len(got)
	default:
		o.Seen, o.Author, o.Size = SeenWhole, author, len(got)
	}
	return o
}

func toldBy(err error) Told {
	switch {
	case err == nil:
		return ToldWon
	case errors.Is(err, storage.ErrExists):
		return ToldLost
	case errors.Is(err, storage.ErrUnknown):
		return ToldUnknown
	}
	return ToldFailed
}

// A line is one message between the doctor and a racer in another process: one JSON document a line.
type line struct {
	Task   *Task   `json:"task,omitempty"`
	At     int64   `json:"at,omitempty"` // the moment to start, Unix time in ns
	Answer *Answer `json:"answer,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// ServeRacer lets r race for a doctor at the other end of two pipes, until in ends.
func ServeRacer(ctx context.Context, r Racer, in io.Reader, out io.Writer) error {
	to := json.NewEncoder(out)
	if err := to.Encode(line{}); err != nil { // tells the doctor that the racer has started
		return err
	}
	for from := json.NewDecoder(in); ; {
		var got, reply line
		if err := from.Decode(&got); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("doctor: racer: %w", err)
		}
		var err error
		if got.Task != nil {
			err = r.Ready(ctx, *got.Task)
		} else {
			var a Answer
			a, err = r.Go(ctx, time.Unix(0, got.At))
			reply.Answer = &a
		}
		if err != nil {
			reply.Error = err.Error()
		}
		if err := to.Encode(reply); err != nil {
			return fmt.Errorf("doctor: racer: %w", err)
		}
	}
}

// DialRacer returns a racer that is served at the other end of two pipes. stop ends it; stop may be called more than
// once.
func DialRacer(from io.Reader, to io.Writer, stop func() error) (Racer, error) {
	r := &farRacer{from: json.NewDecoder(from), to: json.NewEncoder(to), stop: stop}
	var hello line
	if err := r.from.Decode(&hello); err != nil {
		return nil, errors.Join(fmt.Errorf("doctor: a racer does not start: %w", err), stop())
	}
	return r, nil
}

type farRacer struct {
	from *json.Decoder
	to   *json.Encoder
	stop func() error
}

// exchange sends a line and waits for the reply. It waits until ctx ends for a store that does not answer.
func (r *farRacer) exchange(ctx context.Context, l line) (reply line, err error) {
	stop := context.AfterFunc(ctx, func() { _ = r.stop() })
	defer stop()
	if err = r.to.Encode(l); err == nil {
		err = r.from.Decode(&reply)
	}
	if err != nil {
		return line{}, fmt.Errorf("doctor: racer: %w", err)
	}
	if reply.Error != "" {
		return line{}, errors.New(strings.TrimSpace(reply.Error))
	}
	return reply, nil
}

// Ready implements Racer.
func (r *farRacer) Ready(ctx context.Context, t Task) error {
	_, err := r.exchange(ctx, line{Task: &t})
	return err
}

// Go implements Racer.
func (r *farRacer) Go(ctx context.Context, at time.Time) (Answer, error) {
	reply, err := r.exchange(ctx, line{At: at.UnixNano()})
	if err != nil {
		return Answer{}, err
	}
	if reply.Answer == nil {
		return Answer{}, errors.New("doctor: racer: the reply has no answer")
	}
	return *reply.Answer, nil
}

// Close implements Racer.
func (r *farRacer) Close() error { return r.stop() }
