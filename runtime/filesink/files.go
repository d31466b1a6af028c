package filesink

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// bufferSize of the open part.
const bufferSize = 64 << 10

// begin makes the folders durable, publishes the parts that the restored state names, and removes what other attempts
// left.
func (s *Sink) begin() error {
	if err := s.step("mkdir", s.pendingPath()); err != nil {
		return err
	}
	if err := os.MkdirAll(s.pendingPath(), 0o777); err != nil {
		return err
	}
	if err := errors.Join(s.syncDir(filepath.Dir(s.o.Dir)), s.syncDir(s.o.Dir)); err != nil {
		return err
	}
	if err := s.publish(^uint64(0)); err != nil {
		return err
	}
	return s.removeLeftovers()
}

// create opens the next part. O_EXCL: if two sinks take themselves for this attempt's subtask, one of them fails.
func (s *Sink) create() error {
	s.sequence++
	part := &openPart{staged: staged{Name: s.o.Name, Subtask: s.o.Subtask, Attempt: s.attempt, Sequence: s.sequence, Form: s.o.Form}}
	path := part.pending(s.o.Dir)
	if err := s.step("create", path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	part.file, part.out = f, bufio.NewWriterSize(f, bufferSize)
	s.open = part
	return nil
}

// seal makes the open part durable. After an error the part stays open, and the sink can only be closed.
func (s *Sink) seal(checkpoint uint64) (staged, error) {
	part := s.open
	path := part.pending(s.o.Dir)
	if err := s.step("write", path); err != nil {
		return staged{}, err
	}
	if err := part.out.Flush(); err != nil {
		return staged{}, err
	}
	if err := s.step("fsync", path); err != nil {
		return staged{}, err
	}
	if err := part.file.Sync(); err != nil {
		return staged{}, err
	}
	if err := s.step("close", path); err != nil {
		return staged{}, err
	}
	s.open = nil
	if err := part.file.Close(); err != nil {
		return staged{}, err
	}
	if err := s.syncDir(s.pendingPath()); err != nil {
		return staged{}, err
	}
	part.Checkpoint = checkpoint
	return part.staged, nil
}

// publish commits the pending parts up to a checkpoint: all links, one fsync of the folder, then the removals.
func (s *Sink) publish(checkpoint uint64) error {
	var linked, left []staged
	var errs []error
	for _, part := range s.pending {
		if part.Checkpoint > checkpoint {
			left = append(left, part)
			continue
		}
		if err := s.link(part); err != nil {
			errs = append(errs, err)
			left = append(left, part)
			continue
		}
		linked = append(linked, part)
	}
	if len(linked) > 0 {
		if err := s.syncDir(s.o.Dir); err != nil {
			return errors.Join(append(errs, err)...) // all parts stay pending; the next try finds those that are linked
		}
	}
	s.pending = left
	for _, part := range linked {
		if err := s.remove(part.pending(s.o.Dir)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// link makes a part visible, or finds that it is visible already.
func (s *Sink) link(part staged) error {
	from, to := part.pending(s.o.Dir), part.final(s.o.Dir)
	if err := s.step("link", to); err != nil {
		return err
	}
	before, err := os.Stat(from)
	if err == nil && before.Size() != part.Size {
		return fmt.Errorf("%s has %d bytes, want the %d of its pre-commit", from, before.Size(), part.Size)
	}
	linkErr := os.Link(from, to)
	if linkErr == nil {
		return nil
	}
	there, err := os.Stat(to)
	switch {
	case err != nil: // neither name exists: another process removed the part
		return linkErr
	case there.Size() != part.Size || (before != nil && !os.SameFile(before, there)):
		return fmt.Errorf("%s exists and is another part; does another job use this folder and name?", to)
	}
	return nil
}

// removeLeftovers removes the staged parts of this subtask from other attempts. Their parts that had to be published
// are published.
func (s *Sink) removeLeftovers() error {
	entries, err := os.ReadDir(s.pendingPath())
	if err != nil {
		return err
	}
	for _, e := range entries {
		part, ok := parseStaged(e.Name(), s.o.Name, s.o.Subtask)
		if !ok || part.Attempt >= s.attempt {
			continue
		}
		if err := s.remove(filepath.Join(s.pendingPath(), e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a file. An absent file is no error: a process of an old attempt may have removed it.
func (s *Sink) remove(path string) error {
	if err := s.step("unlink", path); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func (s *Sink) syncDir(path string) error {
	if err := s.step("fsync", path); err != nil {
		return err
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *Sink) step(call, path string) error {
	if s.o.Step == nil {
		return nil
	}
	return s.o.Step(call, path)
}
