// Package connectors is the table of the connectors that a job can name: one row for each. It owns their options, as
// people write them, and makes sources and sinks of them. It must not know files of jobs, steps or processes.
package connectors

import (
	"time"

	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/state"
)

// Connector is one row of the table.
type Connector struct {
	// Name is how a job names it.
	Name string
	// Source and Sink return options with their defaults; nil: the connector has no source, or no sink.
	Source func() Source
	Sink   func() Sink
}

// Options are the options of a connector: a pointer to a struct whose fields have the tag yaml.
type Options interface {
	// Validate names the option that is wrong, its value, and what is allowed.
	Validate() error
}

// Source is the options of a source.
type Source interface {
	Options
	OpenSource(runtime.Subtask) (state.Source, error)
}

// Sink is the options of a sink.
type Sink interface {
	Options
	OpenSink(runtime.Subtask) (state.Sink, error)
}

// Rebaser is what options with paths implement.
type Rebaser interface {
	// Rebase makes relative paths absolute, below a folder.
	Rebase(folder string)
}

// Paced is what options implement that depend on the interval between checkpoints.
type Paced interface {
	// CheckpointEvery says the interval, before Validate.
	CheckpointEvery(interval time.Duration)
}

// All returns the table.
func All() []Connector {
	return []Connector{
		{Name: "files", Source: func() Source { return &FileSource{} }, Sink: func() Sink { return &FileSink{} }},
		{Name: "generator", Source: func() Source { return &Generator{Records: 1_000_000, Users: 10_000, Seed: 1} }},
		{Name: "kafka", Source: func() Source { return &KafkaSource{} }, Sink: func() Sink { return &KafkaSink{} }},
		{Name: "postgres", Sink: func() Sink { return &PostgresSink{} }},
		{Name: "stdout", Sink: func() Sink { return &Stdout{} }},
	}
}
