package clicks

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/runtime/state"
)

const (
	// maxLine is the longest line that is parsed; a longer one counts as one unparsable line.
	maxLine = 64 << 10
	// maxRead is the number of bytes that Next reads for one record before it returns NotNow: they take less than a
	// millisecond.
	maxRead = 1 << 20
	// byteOrderMark is what some programs write before the first line of UTF-8.
	byteOrderMark = "\xef\xbb\xbf"
	// headSize is the size of the beginning of a file that tells it from other files.
	headSize = 4 << 10
)

// file is a share of a file: the lines that begin in [begin, end).
type file struct {
	counters
	input      string
	f          *os.File
	size       int64
	begin, end int64
	// next is the offset of the next byte that lines reads.
	next     int64
	skipping bool
	lines    *bufio.Reader
}

var _ state.Source = (*file)(nil)

func openFile(o Options) (*file, error) {
	f, err := os.Open(o.Input)
	if err != nil {
		return nil, err
	}
	s := &file{f: f, size: o.Size, lines: bufio.NewReaderSize(nil, maxLine)}
	if err := s.measure(o); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.rewind()
	return s, nil
}

func (s *file) measure(o Options) error {
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file; a restore must be able to read it again")
	}
	if s.size == 0 {
		s.size = info.Size()
	}
	if s.size > info.Size() {
		return fmt.Errorf("the file has %d bytes, want at least %d", info.Size(), s.size)
	}
	head := make([]byte, min(s.size, headSize))
	if _, err := s.f.ReadAt(head, 0); err != nil && err != io.EOF {
		return err
	}
	// The path is left out: the file may have another path on another machine.
	s.input = fmt.Sprintf("file size=%d head=%08x subtask=%d/%d", s.size, crc32c.Sum(head), o.Subtask, o.Parallelism)
	s.begin, s.end = share(s.size, o.Subtask, o.Parallelism), share(s.size, o.Subtask+1, o.Parallelism)
	return nil
}

// share returns size*i/of without overflow.
func share(size int64, i, of int) int64 {
	return size/int64(of)*int64(i) + size%int64(of)*int64(i)/int64(of)
}

// rewind goes to the share's beginning: the first line that begins in the share.
func (s *file) rewind() {
	if s.begin == 0 {
		s.seek(0, false)
	} else {
		s.seek(s.begin-1, true)
	}
}

func (s *file) seek(to int64, skipping bool) {
	s.next, s.skipping = to, skipping
	s.lines.Reset(io.NewSectionReader(s.f, to, s.size-to))
}

// Next implements state.Source.
func (s *file) Next(rec *state.Record) (state.Readiness, error) {
	for read := 0; read < maxRead; {
		if s.next >= s.end { // also while skipping, because the next line begins beyond the end
			return state.End, nil
		}
		line, err := s.lines.ReadSlice('\n')
		s.next += int64(len(line))
		read += len(line)
		switch {
		case err == bufio.ErrBufferFull:
			if !s.skipping {
				s.unparsable.Add(1)
			}
			s.skipping = true
			continue
		case err != nil && err != io.EOF:
			return state.NotNow, fmt.Errorf("clicks: read %s at %d: %w", s.f.Name(), s.next, err)
		case err == io.EOF && s.next < s.size:
			return state.NotNow, fmt.Errorf("clicks: read %s: the file has become shorter than %d bytes", s.f.Name(), s.size)
		}
		if s.skipping {
			s.skipping = false
			continue
		}
		if int64(len(line)) == s.next { // the first line of the file
			line = bytes.TrimPrefix(line, []byte(byteOrderMark))
		}
		user, in, ok := parse(bytes.TrimRight(line, "\r\n"))
		if !ok {
			s.unparsable.Add(1)
			continue
		}
		s.records.Add(1)
		rec.Key, rec.Value = user, notLoggedIn
		if in {
			rec.Value = loggedIn
		}
		return state.Ready, nil
	}
	return state.NotNow, nil
}

// Position implements state.Source.
func (s *file) Position() []byte {
	return position{
		Input: s.input, Next: uint64(s.next), Skipping: s.skipping, Records: s.records.Load(), Unparsable: s.unparsable.Load(),
	}.encode()
}

// Seek implements state.Source.
func (s *file) Seek(p []byte) error {
	to, err := decodePosition(p, s.input, uint64(s.size))
	if err != nil {
		return err
	}
	s.seek(int64(to.Next), to.Skipping)
	s.set(to)
	return nil
}

// Close implements state.Source.
func (s *file) Close() error {
	if err := s.f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("clicks: close: %w", err)
	}
	return nil
}
