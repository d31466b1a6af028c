package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// File holds the values of a configuration file. A key that the file does not give is absent.
type File struct {
	Job *ckptdv1.JobConfig
	// Dir is the root of the checkpoints, a URL or a path; empty: the file does not give it.
	Dir string
	// S3 says how to reach the store if the root is an S3 bucket.
	S3 S3
	// Recovery says which checkpoint a new job begins from.
	Recovery Recovery
	// Engine says how workers of the bundled runtime keep their state. The daemon does not look at it.
	Engine Engine
	// PassedOver are keys of other parts of Flink, in the file's order. They say nothing to ckptd.
	PassedOver []string
}

// Engine is what the keys about Flink's state backends say.
type Engine struct {
	// Backend is hashmap or rocksdb; empty: the file does not say.
	Backend string
	// WholeSnapshots: each snapshot has all files anew (execution.checkpointing.incremental: false).
	WholeSnapshots bool
}

// Keys returns the keys, one a line, as Parse reads them.
func (e Engine) Keys() string {
	var keys string
	if e.Backend != "" {
		keys += keyBackend + ": " + e.Backend + "\n"
	}
	if e.WholeSnapshots {
		keys += keyIncremental + ": false\n"
	}
	return keys
}

// shownKeys is how many keys Note names.
const shownKeys = 3

// Note counts in one line the keys that were passed over. It is empty if there were none.
func (f *File) Note() string {
	n := len(f.PassedOver)
	if n == 0 {
		return ""
	}
	text := fmt.Sprintf("passed over %d keys of other parts of Flink: ", n)
	if n == 1 {
		text = "passed over 1 key of another part of Flink: "
	}
	text += strings.Join(f.PassedOver[:min(n, shownKeys)], ", ")
	if n > shownKeys {
		text += fmt.Sprintf(" and %d more", n-shownKeys)
	}
	return text
}

// Parse reads Flink's keys from YAML or JSON: flat ("execution.checkpointing.interval: 3min"), nested, or both mixed.
// It passes over keys of other parts of Flink. It refuses keys that ckptd lacks, unknown keys, values out of range, and
// keys that are given twice, also by an earlier spelling. One error names all of them.
func Parse(data []byte) (*File, error) {
	pairs, err := flatten(data)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	f := &File{Job: &ckptdv1.JobConfig{}}
	var bad []error
	given := map[string]pair{}
	for _, p := range pairs {
		if err := f.take(p, given); err != nil {
			bad = append(bad, fmt.Errorf("config: line %d: %w", p.line, err))
		}
	}
	bad = append(bad, f.settleDir(given), f.settleBackend(given), f.settleStrategy(given))
	if err := errors.Join(bad...); err != nil {
		return nil, err
	}
	if _, err := Effective(f.Job); err != nil { // two values may be in range, and not fit together
		return nil, err
	}
	return f, nil
}

// take reads one key. given holds the keys before it, by their newest spelling.
func (f *File) take(p pair, given map[string]pair) error {
	o, known := lookUp(p.key)
	if !known && within(p.key, elsewhere()) && !within(p.key, lacking()) {
		if near, distance := nearest(p.key); distance > slip || near == "" {
			f.PassedOver = append(f.PassedOver, p.key)
			return nil
		}
	}
	switch first, twice := given[o.key]; {
	case p.odd:
		return fmt.Errorf("%s: a single value is expected", p.key)
	case !known:
		return errors.New(refusal(p.key))
	case twice:
		return fmt.Errorf("%s is given already, by %s in line %d", p.key, first.key, first.line)
	}
	given[o.key] = p
	if err := o.set(f, p.value); err != nil {
		return fmt.Errorf("%s: %w", p.key, err)
	}
	return nil
}

// settleDir sets Dir from the storage key, if that key names a root.
func (f *File) settleDir(given map[string]pair) error {
	storage, ok := given[keyStorage]
	if !ok || !isRoot(storage.value) {
		return nil
	}
	if dir, ok := given[keyDir]; ok && dir.value != storage.value {
		// The error leaves out the roots, since a root may hold a password.
		return fmt.Errorf("config: line %d: %s names another root than %s in line %d; say %s: %s", storage.line, storage.key,
			dir.key, dir.line, storage.key, fileSystem)
	}
	f.Dir = storage.value
	return nil
}

// Show prints the configuration in effect in Flink's keys, with every default. Parse can read the output.
func Show(w io.Writer, dir string, j Job) error {
	var out bytes.Buffer
	for _, o := range options() {
		value := o.get(dir, j)
		if value == nil {
			continue
		}
		line, err := yaml.Marshal(map[string]any{o.key: value})
		if err != nil {
			return fmt.Errorf("config: show %s: %w", o.key, err)
		}
		out.Write(line)
	}
	_, err := w.Write(out.Bytes())
	return err
}

// lookUp returns the option with this key, or with this earlier spelling of it.
func lookUp(key string) (option, bool) {
	for _, o := range options() {
		if o.named(key) {
			return o, true
		}
	}
	return option{}, false
}
