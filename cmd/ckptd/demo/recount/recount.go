// Package recount counts the clicks of an input a second time, plainly, and compares a job's result with that.
//
// It owns what "exact" means. It must not know the job, nor share code with it: it reads lines, access logs, JSON and
// generated clicks by code of its own, so that a mistake in the job's parser shows. The table of imports forbids it every
// package of ours. Package clicks describes the formats; a rule that changes there has to be changed here by hand.
package recount

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
)

// Result is what a recount has found.
type Result struct {
	Counts Counts
	// Clicks is the number of records. Skipped is the number of lines that are no clicks.
	Clicks, Skipped uint64
	// First is the first of the skipped lines.
	First Line
}

// Line is a line that is no click.
type Line struct {
	// Number counts from 1.
	Number uint64
	// Text is the beginning of the line.
	Text string
	// Why says why the line is no click.
	Why error
}

const (
	longestLine = 65536
	// shown is how much of a skipped line is kept for people.
	shown = 200
	// lookEvery is the number of clicks after which an interruption is noticed.
	lookEvery = 4096
)

var errLong = errors.New("it is longer than 64 KiB")

// File counts the first size bytes of a file.
func File(ctx context.Context, path string, size int64) (Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return Result{}, err
	}
	defer f.Close()
	r := Result{Counts: Counts{}}
	lines := bufio.NewReader(io.LimitReader(f, size))
	for number := uint64(1); ; number++ {
		if number%lookEvery == 0 && ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
		line, err := readLine(lines)
		if err == io.EOF {
			return r, nil
		}
		if err != nil && err != errLong {
			return r, fmt.Errorf("recount: read %s: line %d: %w", path, number, err)
		}
		var c click
		if err == nil {
			if number == 1 {
				line = strings.TrimPrefix(line, "\ufeff")
			}
			c, err = read(strings.TrimRight(line, "\r\n"))
		}
		r.add(c, err, Line{Number: number, Text: line})
	}
}

// readLine returns the next line with its end. Of a line that is too long it returns the beginning.
func readLine(lines *bufio.Reader) (string, error) {
	var line bytes.Buffer
	length := 0
	for {
		piece, err := lines.ReadSlice('\n')
		length += len(piece)
		if line.Len() <= longestLine {
			line.Write(piece)
		}
		switch {
		case err == bufio.ErrBufferFull:
		case err == io.EOF && length == 0:
			return "", io.EOF
		case err != nil && err != io.EOF:
			return "", err
		case length > longestLine || length == longestLine && line.Bytes()[length-1] != '\n':
			return line.String()[:shown], errLong
		default:
			return line.String(), nil
		}
	}
}

func (r *Result) add(c click, err error, l Line) {
	if err != nil {
		if r.Skipped++; r.Skipped == 1 {
			l.Text, l.Why = strings.TrimRight(l.Text[:min(len(l.Text), shown)], "\r\n"), err
			r.First = l
		}
		return
	}
	r.Clicks++
	if c.in {
		r.Counts[strings.Clone(c.user)]++
	}
}

// Generated counts generated clicks. Click n depends only on seed and n: SplitMix64 draws whether the user is logged in,
// and then, by Zipf's law, who the user is.
func Generated(ctx context.Context, seed, users, records uint64) (Result, error) {
	r := Result{Counts: Counts{}, Clicks: records}
	byUser := map[uint64]uint64{}
	var draws splitMix
	zipf := rand.NewZipf(rand.New(&draws), 1.1, 5, users-1)
	for n := range records {
		if n%lookEvery == 0 && ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
		draws = splitMix(seed)
		draws = splitMix(draws.Uint64() ^ n*0xd1342543de82ef95)
		draws.Uint64()
		if draws.Uint64()%10 == 0 {
			continue
		}
		byUser[zipf.Uint64()]++
	}
	for user, n := range byUser {
		r.Counts[fmt.Sprintf("user-%d", user)] = n
	}
	return r, nil
}

// splitMix is Vigna's generator SplitMix64.
type splitMix uint64

// Uint64 returns the next draw.
func (s *splitMix) Uint64() uint64 {
	*s += 0x9e3779b97f4a7c15
	x := uint64(*s)
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
