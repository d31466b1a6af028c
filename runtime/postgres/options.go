package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.yaml.in/yaml/v3"
)

// Mode is what a sink promises.
type Mode string

const (
	// ExactlyOnce inserts each row exactly once: in a prepared transaction for each checkpoint.
	ExactlyOnce Mode = "exactly-once"
	// Upsert inserts rows, or replaces those with the same key, at least once: in batches, as they come.
	Upsert Mode = "upsert"
)

// Options say where and how a sink writes. The zero value of an option is its default.
type Options struct {
	// DSN names the server and the database, in either form of libpq: `host=db user=me dbname=shop`, or
	// `postgres://me@db/shop`. What it leaves out comes from libpq's environment: PGHOST, PGPASSWORD, PGPASSFILE and so
	// on.
	DSN string `yaml:"dsn"`
	// Table is `table` or `schema.table`, spelled as the database stores it: in lower case, unless quotes made it.
	Table string `yaml:"table"`
	// Columns are the columns to write, and the field of the row that each one takes.
	Columns Columns `yaml:"columns"`
	// Mode is ExactlyOnce by default.
	Mode Mode `yaml:"mode"`
	// Key are the columns that identify a row. Upsert needs them, and a unique index over them.
	Key []string `yaml:"key"`
	// BatchSize is the number of rows that are sent at a time: 100,000 by default, 10,000 in mode Upsert. A megabyte is
	// sent at once, too.
	BatchSize int `yaml:"batch-size"`
	// FlushInterval is how long a row may wait for a full batch in mode Upsert: 1 s by default.
	FlushInterval time.Duration `yaml:"flush-interval"`
	// LockTimeout bounds the wait for a lock that another session holds: 10 s by default.
	LockTimeout time.Duration `yaml:"lock-timeout"`
	// StatementTimeout bounds each statement: 60 s by default.
	StatementTimeout time.Duration `yaml:"statement-timeout"`
	// RetryTimeout is how long the sink tries to reach a server that does not answer: 30 s by default.
	RetryTimeout time.Duration `yaml:"retry-timeout"`
	// FenceTable is where the sink keeps the newest attempt of each subtask: ckptd_fence by default. The sink makes it
	// if it is missing. It is spelled as Table.
	FenceTable string `yaml:"fence-table"`
}

// Columns are the columns of a table that a sink writes. In YAML they are a list of names, or a mapping of columns to
// fields.
type Columns []Column

// Column takes one field of each row. A row that lacks the field has NULL there.
type Column struct {
	// Name of the column, spelled as the database stores it.
	Name string
	// Field of the row; empty means Name.
	Field string
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (c *Columns) UnmarshalYAML(node *yaml.Node) error {
	var names []string
	switch node.Kind {
	case yaml.SequenceNode:
		if err := node.Decode(&names); err != nil {
			return err
		}
		for _, name := range names {
			*c = append(*c, Column{Name: name})
		}
		return nil
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			var column Column
			if err := errors.Join(node.Content[i].Decode(&column.Name), node.Content[i+1].Decode(&column.Field)); err != nil {
				return err
			}
			*c = append(*c, column)
		}
		return nil
	}
	return fmt.Errorf("line %d: columns: want a list of columns, or a mapping of columns to fields", node.Line)
}

// names returns the columns' names.
func (c Columns) names() []string {
	names := make([]string, len(c))
	for i, column := range c {
		names[i] = column.Name
	}
	return names
}

// maxIdentifier is the length of PostgreSQL's names. The server cuts longer ones.
const maxIdentifier = 63

// Validate returns an error that names the option, its value and what is allowed.
func (o Options) Validate() error {
	if _, err := o.config(); err != nil {
		return err
	}
	if err := validTable("table", o.Table); err != nil {
		return err
	}
	if o.FenceTable != "" {
		if err := validTable("fence-table", o.FenceTable); err != nil {
			return err
		}
	}
	if err := o.validColumns(); err != nil {
		return err
	}
	if o.BatchSize < 0 {
		return fmt.Errorf("postgres: batch-size %d: want a number above 0", o.BatchSize)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"flush-interval", o.FlushInterval}, {"lock-timeout", o.LockTimeout}, {"statement-timeout", o.StatementTimeout}, {"retry-timeout", o.RetryTimeout},
	} {
		if d.value < 0 || (d.value > 0 && d.value < time.Millisecond) || d.value > 24*time.Hour {
			return fmt.Errorf("postgres: %s %v: want a time from 1ms to 24h", d.name, d.value)
		}
	}
	return nil
}

func (o Options) validColumns() error {
	names := o.Columns.names()
	if len(names) == 0 {
		return errors.New("postgres: columns: none are named: name the columns of the table to write")
	}
	for i, name := range names {
		if err := validIdentifier("columns", name); err != nil {
			return err
		}
		if slices.Index(names, name) < i {
			return fmt.Errorf("postgres: columns: %q stands there twice: leave one out", name)
		}
	}
	switch o.Mode {
	case ExactlyOnce, "":
		if len(o.Key) > 0 {
			return fmt.Errorf("postgres: key %q: mode %s inserts rows and replaces none: leave key out, or choose mode %s", o.Key, ExactlyOnce, Upsert)
		}
	case Upsert:
		if len(o.Key) == 0 {
			return fmt.Errorf("postgres: key: mode %s needs the columns that identify a row", Upsert)
		}
	default:
		return fmt.Errorf("postgres: mode %q: want %s or %s", o.Mode, ExactlyOnce, Upsert)
	}
	for i, name := range o.Key {
		if !slices.Contains(names, name) || slices.Index(o.Key, name) < i {
			return fmt.Errorf("postgres: key %q: want some of the columns %q, each once", o.Key, names)
		}
	}
	return nil
}

func validTable(option, name string) error {
	if strings.Count(name, ".") > 1 {
		return fmt.Errorf("postgres: %s %q: want table or schema.table", option, name)
	}
	for part := range strings.SplitSeq(name, ".") {
		if err := validIdentifier(option, part); err != nil {
			return err
		}
	}
	return nil
}

func validIdentifier(option, name string) error {
	if name == "" || len(name) > maxIdentifier || strings.ContainsAny(name, "\x00\"") {
		return fmt.Errorf("postgres: %s: %q is no name: want 1 to %d bytes without quotes", option, name, maxIdentifier)
	}
	return nil
}

// withDefaults returns the options with a value for each.
func (o Options) withDefaults() Options {
	set(&o.Mode, ExactlyOnce)
	if o.Mode == Upsert {
		set(&o.BatchSize, 10_000)
	}
	set(&o.BatchSize, 100_000) // COPY pays for its begin, and the rows are invisible until the checkpoint anyway
	set(&o.FlushInterval, time.Second)
	set(&o.LockTimeout, 10*time.Second)
	set(&o.StatementTimeout, time.Minute)
	set(&o.RetryTimeout, 30*time.Second)
	set(&o.FenceTable, "ckptd_fence")
	o.Columns = slices.Clone(o.Columns)
	for i := range o.Columns {
		set(&o.Columns[i].Field, o.Columns[i].Name)
	}
	return o
}

func set[T comparable](option *T, value T) {
	var zero T
	if *option == zero {
		*option = value
	}
}

// config parses the DSN. The driver's error may show parts of a password, so it is not passed on.
func (o Options) config() (*pgconn.Config, error) {
	config, err := pgconn.ParseConfig(o.DSN)
	if err != nil {
		return nil, errors.New("postgres: dsn: it cannot be read, or a file or variable that it uses cannot (PGSERVICEFILE, PGSSLROOTCERT and so on): " +
			"want `host=db user=me dbname=shop` or `postgres://me@db/shop`, with %XX for special characters in the second form")
	}
	return config, nil
}

// quoted returns a table's name for statements.
func quoted(table string) string {
	parts := strings.Split(table, ".")
	for i, part := range parts {
		parts[i] = quotedName(part)
	}
	return strings.Join(parts, ".")
}

func quotedName(name string) string { return `"` + name + `"` }

// quotedNames returns names for a list in a statement.
func quotedNames(names []string) string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = quotedName(name)
	}
	return strings.Join(all, ", ")
}
