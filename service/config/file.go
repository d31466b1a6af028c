package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// File holds the values of a configuration file. A key that the file does not give is absent.
type File struct {
	Job *ckptdv1.JobConfig
	// Dir is the root of the checkpoints, a URL or a path; empty: the file does not give it.
	Dir string
}

// strategy returns the restart strategy, an empty one if there was none.
func (f *File) strategy() *ckptdv1.RestartStrategy {
	if f.Job.RestartStrategy == nil {
		f.Job.RestartStrategy = &ckptdv1.RestartStrategy{}
	}
	return f.Job.RestartStrategy
}

// Parse reads Flink's keys from YAML or JSON: flat ("execution.checkpointing.interval: 3min"), nested, or both mixed.
// It refuses unknown keys, values out of range, and keys that are given twice, also by an earlier spelling. One error
// names all of them.
func Parse(data []byte) (*File, error) {
	pairs, err := flatten(data)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	f := &File{Job: &ckptdv1.JobConfig{}}
	var bad []error
	given := map[string]pair{}
	for _, p := range pairs {
		o, ok := lookUp(p.key)
		if !ok {
			bad = append(bad, fmt.Errorf("config: line %d: %s", p.line, unknown(p.key)))
			continue
		}
		if first, twice := given[o.key]; twice {
			bad = append(bad, fmt.Errorf("config: line %d: %s is given already, by %s in line %d", p.line, p.key, first.key, first.line))
			continue
		}
		given[o.key] = p
		if err := o.set(f, p.value); err != nil {
			bad = append(bad, fmt.Errorf("config: line %d: %s: %w", p.line, p.key, err))
		}
	}
	bad = append(bad, f.settleDir(given))
	if err := errors.Join(bad...); err != nil {
		return nil, err
	}
	f.settleStrategy(given)
	return f, nil
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

// settleStrategy fills in one attempt, Flink's default, if the file gives only the fixed-delay strategy. If the file
// gives only the attempts, it fills in the strategy. Flink would ignore the attempts, which nobody who writes them
// intends.
func (f *File) settleStrategy(given map[string]pair) {
	s := f.Job.RestartStrategy
	if s == nil {
		return
	}
	if _, ok := given[keyAttempts]; !ok && s.Type == ckptdv1.RestartStrategy_TYPE_FIXED_DELAY {
		s.Attempts = 1
	}
	if _, ok := given[keyAttempts]; ok && s.Type == ckptdv1.RestartStrategy_TYPE_UNSPECIFIED {
		s.Type = ckptdv1.RestartStrategy_TYPE_FIXED_DELAY
	}
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

// pair is a key and its value as a file gives them.
type pair struct {
	key, value string
	line       int
}

// flatten reads a document and joins the keys of nested maps with dots.
func flatten(data []byte) ([]pair, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil // the file is empty or has only comments
	} else if err != nil {
		return nil, err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document: want one")
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: keys and values are expected, like %s: 3min", root.Line, keyInterval)
	}
	return walk(nil, "", root)
}

// walk appends the pairs of a mapping. prefix is the key of the mapping, with a dot behind it.
func walk(pairs []pair, prefix string, node *yaml.Node) ([]pair, error) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		k, v := node.Content[i], node.Content[i+1]
		key := prefix + k.Value
		switch {
		case k.Kind != yaml.ScalarNode:
			return nil, fmt.Errorf("line %d: a key below %q is not a word", k.Line, strings.TrimSuffix(prefix, "."))
		case v.Kind == yaml.MappingNode:
			var err error
			if pairs, err = walk(pairs, key+".", v); err != nil {
				return nil, err
			}
		case v.Kind == yaml.ScalarNode && v.Tag != "!!null":
			pairs = append(pairs, pair{key: key, value: v.Value, line: k.Line})
		default:
			return nil, fmt.Errorf("line %d: %s: a single value is expected", v.Line, key)
		}
	}
	return pairs, nil
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

// unknown describes why a key is refused. It suggests the nearest known key.
func unknown(key string) string {
	for _, prefix := range elsewhere() {
		if key == prefix || strings.HasPrefix(key, prefix+".") {
			return key + " is an option of Flink that ckptd does not have"
		}
	}
	best, distance := "", len(key)/3+1
	for _, o := range options() {
		for _, name := range append([]string{o.key}, o.old...) {
			// People often remember only the last part of a key.
			d := min(levenshtein.ComputeDistance(key, name), levenshtein.ComputeDistance(key, name[strings.LastIndexByte(name, '.')+1:]))
			if d < distance {
				best, distance = o.key, d
			}
		}
	}
	if best == "" {
		return key + " is unknown"
	}
	return fmt.Sprintf("%s is unknown; did you mean %s?", key, best)
}
