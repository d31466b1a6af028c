// Package lines reads a file line by line, each subtask a share of its bytes. It owns the shares and the form of a
// position. It must not know what a line means: its caller parses the lines.
package lines

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
	// MaxLine is the longest line that is parsed; a longer one counts as one unparsable line.
	MaxLine = 64 << 10
	// MaxRead is the number of bytes that Next reads for one record before it returns NotNow: they take less than a
	// millisecond.
	MaxRead = 1 << 20
	// byteOrderMark is what some programs write before the first line of UTF-8.
	byteOrderMark = "\xef\xbb\xbf"
	// headSize is the size of the beginning of a file that tells it from other files.
	headSize = 4 << 10
)

// Options say which file to read, and which share of it.
type Options struct {
	Path string
	// Size is the number of bytes to read; 0 means the size of the file when Open is called. The subtasks' shares depend
	// on Size. For a file that may grow, all subtasks must be given the same Size.
	Size int64
	// Subtask, 0 <= Subtask < Parallelism, is the share to read.
	Subtask, Parallelism int
	// Parse fills rec from a line, without its end. It is false for a line that is no record. Such a line is counted as
	// unparsable.
	Parse func(line []byte, rec *state.Record) bool
}

// File is a share of a file: the lines that begin in [begin, end).
type File struct {
	Counters
	parse      func(line []byte, rec *state.Record) bool
	input      string
	f          *os.File
	size       int64
	begin, end int64
	// next is the offset of the next byte that lines reads.
	next     int64
	skipping bool
	lines    *bufio.Reader
}

var _ state.Source = (*File)(nil)

// Open opens a share of a file at its beginning.
func Open(o Options) (*File, error) {
	f, err := os.Open(o.Path)
	if err != nil {
		return nil, err
	}
	s := &File{f: f, parse: o.Parse, size: o.Size, lines: bufio.NewReaderSize(nil, MaxLine)}
	if err := s.measure(o); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.rewind()
	return s, nil
}

func (s *File) measure(o Options) error {
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
func (s *File) rewind() {
	if s.begin == 0 {
		s.seek(0, false)
	} else {
		s.seek(s.begin-1, true)
	}
}

func (s *File) seek(to int64, skipping bool) {
	s.next, s.skipping = to, skipping
	s.lines.Reset(io.NewSectionReader(s.f, to, s.size-to))
}

// Next implements state.Source.
func (s *File) Next(rec *state.Record) (state.Readiness, error) {
	for read := 0; read < MaxRead; {
		if s.next >= s.end { // also while skipping, because the next line begins beyond the end
			return state.End, nil
		}
		line, err := s.lines.ReadSlice('\n')
		s.next += int64(len(line))
		read += len(line)
		switch {
		case err == bufio.ErrBufferFull:
			if !s.skipping {
				s.Unparsable.Add(1)
			}
			s.skipping = true
			continue
		case err != nil && err != io.EOF:
			return state.NotNow, fmt.Errorf("lines: read %s at %d: %w", s.f.Name(), s.next, err)
		case err == io.EOF && s.next < s.size:
			return state.NotNow, fmt.Errorf("lines: read %s: the file has become shorter than %d bytes", s.f.Name(), s.size)
		}
		if s.skipping {
			s.skipping = false
			continue
		}
		if int64(len(line)) == s.next { // the first line of the file
			line = bytes.TrimPrefix(line, []byte(byteOrderMark))
		}
		if !s.parse(bytes.TrimRight(line, "\r\n"), rec) {
			s.Unparsable.Add(1)
			continue
		}
		s.Records.Add(1)
		return state.Ready, nil
	}
	return state.NotNow, nil
}

// Position implements state.Source.
func (s *File) Position() []byte {
	return Position{
		Input: s.input, Next: uint64(s.next), Skipping: s.skipping, Records: s.Records.Load(), Unparsable: s.Unparsable.Load(),
	}.Encode()
}

// Seek implements state.Source.
func (s *File) Seek(p []byte) error {
	to, err := DecodePosition(p, s.input, uint64(s.size))
	if err != nil {
		return err
	}
	s.seek(int64(to.Next), to.Skipping)
	s.Set(to)
	return nil
}

// Close implements state.Source.
func (s *File) Close() error {
	if err := s.f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("lines: close: %w", err)
	}
	return nil
}
