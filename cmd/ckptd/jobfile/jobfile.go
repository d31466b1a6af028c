// Package jobfile reads a job that is written in YAML: a source, steps, a sink, and Flink's configuration keys beside
// them.
//
//	name: clicks
//	source:
//	  uid: clicks
//	  files: {path: clicks.jsonl}
//	steps:
//	  - filter: row.logged_in
//	  - keyBy: row.user
//	  - reduce: {clicks: count}
//	    uid: count
//	sink:
//	  uid: counts
//	  files: {path: counts}
//	configuration:
//	  execution.checkpointing.interval: 1s
//
// It owns the form of the file, the expressions (CEL, which see a row as `row`), and the messages about mistakes: each
// names the line, the column and what is allowed. It makes a stream.Job. It must not know processes, daemons or flags.
package jobfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ckptd/ckptd/runtime/rows"
	"github.com/ckptd/ckptd/runtime/stream"
	"github.com/ckptd/ckptd/service/config"
)

// File is a job as a file describes it.
type File struct {
	Job *stream.Job
	// Config holds the keys of Flink.
	Config *config.File
}

// parser reads one file and collects its mistakes.
type parser struct {
	// name of the file, for messages; folder is what relative paths are below.
	name, folder string
	// lines of the file.
	lines    []string
	problems []error
	env      *expressions
	// uids are the uids so far.
	uids map[string]*yaml.Node
	// unreadable is the source's.
	unreadable stream.Unreadable
	out        File
	defaults   parallelism
}

type parallelism struct{ subtasks, keyGroups int }

// Parse reads a file. name is for messages; relative paths in the file are below folder. One error names all mistakes.
func Parse(name, folder string, data []byte) (*File, error) {
	p := &parser{name: name, folder: folder, lines: strings.Split(string(data), "\n"), uids: map[string]*yaml.Node{}}
	var err error
	if p.env, err = newExpressions(); err != nil {
		return nil, err
	}
	root, err := document(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p.file(root)
	if err := errors.Join(p.problems...); err != nil {
		return nil, err
	}
	if _, err := p.out.Job.Build(nil); err != nil { // the parser has found everything that a person can mistake
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &p.out, nil
}

// document reads the only document of a file.
func document(data []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty; want source, steps and sink")
	} else if err != nil {
		return nil, err
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document: want one")
	}
	return doc.Content[0], nil
}

// The keys of a file.
const (
	keyName           = "name"
	keyParallelism    = "parallelism"
	keyMaxParallelism = "max-parallelism"
	keySource         = "source"
	keySteps          = "steps"
	keySink           = "sink"
	keyConfiguration  = "configuration"
	keyUID            = "uid"
	keyOnError        = "on-error"
	keyDeadLetter     = "dead-letter"
	keyRate           = "rate"
)

// file reads the whole file.
func (p *parser) file(root *yaml.Node) {
	m := p.mapping(root, "the file", keyName, keyParallelism, keyMaxParallelism, keySource, keySteps, keySink, keyConfiguration)
	if m == nil {
		return
	}
	name := strings.TrimSuffix(filepath.Base(p.name), filepath.Ext(p.name))
	p.scalar(m, keyName, &name)
	p.scalar(m, keyParallelism, &p.defaults.subtasks)
	p.scalar(m, keyMaxParallelism, &p.defaults.keyGroups)
	p.inRange(m, keyParallelism, p.defaults.subtasks)
	p.inRange(m, keyMaxParallelism, p.defaults.keyGroups)
	p.configuration(m.get(keyConfiguration))
	source := p.source(p.needed(m, keySource))
	last := p.steps(source, m.get(keySteps))
	sink := p.sink(p.needed(m, keySink))
	if len(p.problems) > 0 {
		return
	}
	p.out.Job = last.To(sink.sink).UID(sink.uid).Named(name).Parallelism(p.defaults.subtasks).MaxParallelism(p.defaults.keyGroups)
}

// mostParallel is the largest number of key groups.
const mostParallel = 32768

func (p *parser) inRange(m *mapping, key string, n int) {
	if v := m.get(key); v != nil && (n < 1 || n > mostParallel) {
		p.problem(v, "%s %d: want 1 to %d", key, n, mostParallel)
	}
}

// source reads the source with its connector.
func (p *parser) source(node *yaml.Node) stream.Stream[rows.Row] {
	var none stream.Stream[rows.Row]
	if node == nil {
		return none
	}
	c := p.connector(node, keySource, keyUID, keyOnError, keyDeadLetter, keyRate)
	if c == nil {
		return none
	}
	p.onError(c.mapping)
	var rate float64
	p.scalar(c.mapping, keyRate, &rate)
	if v := c.mapping.get(keyRate); v != nil && rate <= 0 {
		p.problem(v, "rate %v: want a number above 0: records a second of each subtask", rate)
	}
	if c.source == nil {
		return none
	}
	return stream.From(stream.Source[rows.Row]{
		Kind: c.name, Open: c.source.OpenSource, Codec: rows.Codec{}, Rate: rate, Unreadable: p.unreadable,
	}).UID(c.uid)
}

// onError reads what happens to records that cannot be read.
func (p *parser) onError(m *mapping) {
	var onError, file string
	p.scalar(m, keyOnError, &onError)
	p.scalar(m, keyDeadLetter, &file)
	p.unreadable = stream.Unreadable{OnError: stream.OnError(onError), File: file}
	if file != "" && !filepath.IsAbs(file) {
		p.unreadable.File = filepath.Join(p.folder, file)
	}
	switch v := m.get(keyOnError); {
	case v == nil && file == "":
	case v == nil:
		p.problem(m.get(keyDeadLetter), "dead-letter is for on-error: dead-letter")
	case onError != string(stream.Fail) && onError != string(stream.Skip) && onError != string(stream.DeadLetter):
		p.problem(v, "on-error %q: want fail, skip or dead-letter", onError)
	case onError == string(stream.DeadLetter) && file == "":
		p.problem(v, "on-error: dead-letter needs the file for such records: dead-letter: FILE")
	case onError != string(stream.DeadLetter) && file != "":
		p.problem(m.get(keyDeadLetter), "dead-letter is for on-error: dead-letter")
	}
}

type sinkOfFile struct {
	uid  string
	sink stream.Sink
}

// sink reads the sink with its connector.
func (p *parser) sink(node *yaml.Node) sinkOfFile {
	if node == nil {
		return sinkOfFile{}
	}
	c := p.connector(node, keySink, keyUID)
	if c == nil || c.sink == nil {
		return sinkOfFile{}
	}
	return sinkOfFile{c.uid, stream.Sink{Kind: c.name, Open: c.sink.OpenSink}}
}
