package connectors

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/filesink"
	"github.com/ckptd/ckptd/runtime/lines"
	"github.com/ckptd/ckptd/runtime/rows"
	"github.com/ckptd/ckptd/runtime/state"
)

// The formats of files.
const (
	formatJSON = "json"
	formatCSV  = "csv"
	formatText = "text"
)

// FileSource reads the lines of a file. Each subtask reads a share of its bytes. A line is one record, also in CSV.
type FileSource struct {
	// Path of the file.
	Path string `yaml:"path"`
	// Format is json, which is the default: each line is a JSON object. csv: the first line names the columns, and all
	// values are strings. text: a line is the field "line".
	Format string `yaml:"format"`
}

// Validate implements Options.
func (o *FileSource) Validate() error {
	if o.Path == "" {
		return errors.New("path is missing: the file to read")
	}
	return oneOf("format", o.Format, "", formatJSON, formatCSV, formatText)
}

// Rebase implements Rebaser.
func (o *FileSource) Rebase(folder string) { o.Path = below(folder, o.Path) }

// OpenSource implements Source.
func (o *FileSource) OpenSource(s runtime.Subtask) (state.Source, error) {
	parse, err := o.parser()
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	f, err := lines.Open(lines.Options{Path: o.Path, Subtask: s.Index, Parallelism: s.Parallelism, Parse: parse})
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	return f, nil
}

// parser returns the function that makes JSON of a line. Empty lines are no records. A line that is not CSV stays as it is:
// it is no JSON either, and the job's on-error decides.
func (o *FileSource) parser() (func(line []byte, rec *state.Record) bool, error) {
	switch o.Format {
	case formatCSV:
		columns, err := o.columns()
		if err != nil {
			return nil, err
		}
		return (&csvLines{columns: columns}).parse, nil
	case formatText:
		var buffer []byte
		return func(line []byte, rec *state.Record) (ok bool) {
			var err error
			buffer, err = rows.AppendValue(buffer[:0], rows.Row{"line": strings.ToValidUTF8(string(line), "\ufffd")})
			rec.Key, rec.Value = nil, buffer
			return err == nil
		}, nil
	}
	return func(line []byte, rec *state.Record) bool {
		rec.Key, rec.Value = nil, line
		return len(bytes.TrimSpace(line)) > 0
	}, nil
}

// columns reads the first line of a CSV file.
func (o *FileSource) columns() ([]string, error) {
	f, err := os.Open(o.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	first, err := bufio.NewReader(io.LimitReader(f, lines.MaxLine)).ReadString('\n')
	if err != nil && err != io.EOF {
		return nil, err
	}
	columns, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(first, "\ufeff"))).Read()
	if err != nil {
		return nil, fmt.Errorf("read the columns in the first line of %s: %w", o.Path, err)
	}
	return columns, nil
}

// csvLines makes JSON of lines of CSV.
type csvLines struct {
	columns []string
	buffer  []byte
}

func (c *csvLines) parse(line []byte, rec *state.Record) bool {
	rec.Key, rec.Value = nil, line
	if len(bytes.TrimSpace(line)) == 0 {
		return false
	}
	fields, err := csv.NewReader(bytes.NewReader(line)).Read()
	if err != nil || len(fields) != len(c.columns) {
		return true
	}
	if slices.Equal(fields, c.columns) { // the first line of the file
		return false
	}
	row := rows.Row{}
	for i, name := range c.columns {
		row[name] = fields[i]
	}
	if c.buffer, err = rows.AppendValue(c.buffer[:0], row); err == nil {
		rec.Value = c.buffer
	}
	return true
}

// FileSink writes files of a folder, each record exactly once. The files are named for the job, and each holds what one
// subtask got between two checkpoints.
type FileSink struct {
	// Path of the folder.
	Path string `yaml:"path"`
	// Format is json, which is the default: a row is a line. csv: key,value.
	Format string `yaml:"format"`
	// Name begins the names of the files. The default is the job's id.
	Name string `yaml:"name"`
}

// Validate implements Options.
func (o *FileSink) Validate() error {
	if o.Path == "" {
		return errors.New("path is missing: the folder to write to")
	}
	return oneOf("format", o.Format, "", formatJSON, formatCSV)
}

// Rebase implements Rebaser.
func (o *FileSink) Rebase(folder string) { o.Path = below(folder, o.Path) }

// OpenSink implements Sink.
func (o *FileSink) OpenSink(s runtime.Subtask) (state.Sink, error) {
	form := filesink.JSONLines
	if o.Format == formatCSV {
		form = filesink.CSV
	}
	name := o.Name
	if name == "" {
		name = s.Job
	}
	return filesink.New(filesink.Options{Dir: o.Path, Name: name, Subtask: uint32(s.Index), Form: form})
}

func below(folder, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(folder, path)
}

// oneOf refuses a value that is not allowed. The empty value is named in no message.
func oneOf(option, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	allowed = slices.DeleteFunc(slices.Clone(allowed), func(a string) bool { return a == "" })
	return fmt.Errorf("%s %q: want %s", option, value, strings.Join(allowed, " or "))
}
