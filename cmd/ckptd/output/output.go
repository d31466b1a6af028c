// Package output turns values into text for people: tables, sizes, times, words for a shell.
//
// It owns the form of such text, and makes sure that no value can send commands to a terminal. It must not know where
// the values come from.
package output

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Table prints rows in columns. Every cell is cleaned, because names come from storage and may hold commands for a
// terminal.
type Table struct {
	out  io.Writer
	text *strings.Builder
	w    *tabwriter.Writer
}

// NewTable prints to w when it is flushed.
func NewTable(w io.Writer) *Table {
	text := new(strings.Builder)
	return &Table{w, text, tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)}
}

// Row adds a row.
func (t *Table) Row(cells ...any) {
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = Clean(fmt.Sprint(c))
	}
	// A tabwriter ends a column at a row without its cell: an empty cell keeps its tab here, and loses its blanks in Flush.
	_, _ = fmt.Fprintln(t.w, strings.Join(text, "\t"))
}

// Flush prints the rows.
func (t *Table) Flush() error {
	if err := t.w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(t.text.String()) {
		if _, err := fmt.Fprintln(t.out, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	t.text.Reset()
	return nil
}

// Clean escapes unprintable characters as Go's quoting does.
func Clean(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// wordForm is the form of words that hold no URL: names, hosts, ports.
var wordForm = regexp.MustCompile(`^[A-Za-z0-9._*-]*(?::[0-9]*)?$`)

// pathForm is the form of absolute paths on this machine, and of their URLs: they hold no password.
var pathForm = regexp.MustCompile(`^(?:file://)?/[^:@?&=#[:cntrl:]]*$`)

// Argument quotes a wrong argument for an error. If the argument may be a URL of a server, and so may hold a password, Argument does
// not repeat it.
func Argument(s string) string {
	if wordForm.MatchString(s) || pathForm.MatchString(s) {
		return strconv.Quote(s)
	}
	return "(not repeated: it may hold a password)"
}

// Bytes is a size for people: "0 B", "3.2 KiB".
func Bytes(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, units := float64(n)/unit, "KMGTPE"
	for f >= 999.95 && len(units) > 1 {
		f, units = f/unit, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", f, units[0])
}

// Count is a number of things: "1 checkpoint", "2 checkpoints". many is the plural, if it is not one with s.
func Count[N int | uint32 | uint64](n N, one string, many ...string) string {
	word := one + "s"
	if n == 1 {
		word = one
	} else if len(many) > 0 {
		word = many[0]
	}
	return fmt.Sprintf("%d %s", n, word)
}

// Time is a time for people, in UTC; "-" if there is none.
func Time(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().UTC().Format("2006-01-02 15:04:05Z")
}

// Duration is a duration for people, to the millisecond; "-" if there is none.
func Duration(d *durationpb.Duration) string {
	if d == nil {
		return "-"
	}
	return d.AsDuration().Round(time.Millisecond).String()
}

// Enum is an enum's value without its prefix, in lower case: JOB_STATUS_RUNNING is "running".
func Enum(value fmt.Stringer, prefix string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(value.String(), prefix)), "_", " ")
}

// Event is a kind of event in one word: "worker-lost".
func Event(k ckptdv1.JobEventKind) string {
	return strings.ReplaceAll(Enum(k, "JOB_EVENT_KIND_"), " ", "-")
}
