package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// pair is a key and its value as a file gives them.
type pair struct {
	key, value string
	line       int
	// odd is true if the value is a list, empty, or anything else that is no single value.
	odd bool
}

// flatten reads a document and joins the keys of nested maps with dots.
func flatten(data []byte) ([]pair, error) {
	dec := yaml.NewDecoder(bytes.NewReader(withoutDirective(data)))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil // the file is empty or has only comments
	} else if err != nil {
		if pairs, ok := flatLines(data); ok {
			return pairs, nil
		}
		return nil, explain(err, data)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document: want one")
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: keys and values are expected, with a colon and a space between them, like %s: 3min", root.Line, keyInterval)
	}
	return walk(nil, "", root)
}

// walk appends the pairs of a mapping. prefix is the key of the mapping, with a dot behind it.
func walk(pairs []pair, prefix string, node *yaml.Node) ([]pair, error) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		k, v := node.Content[i], node.Content[i+1]
		key := prefix + k.Value
		if v.Kind == yaml.AliasNode && v.Alias.Kind == yaml.ScalarNode {
			v = v.Alias
		}
		switch {
		case k.Kind != yaml.ScalarNode:
			return nil, fmt.Errorf("line %d: a key below %q is not a word", k.Line, strings.TrimSuffix(prefix, "."))
		case v.Kind == yaml.MappingNode:
			var err error
			if pairs, err = walk(pairs, key+".", v); err != nil {
				return nil, err
			}
		default:
			pairs = append(pairs, pair{key: key, value: v.Value, line: k.Line, odd: v.Kind != yaml.ScalarNode || v.Tag == "!!null"})
		}
	}
	return pairs, nil
}

// directive is the line with which a file may name its version of YAML. The parser refuses versions above 1.1, though
// files of 1.2 mean the same here.
var directive = regexp.MustCompile(`(?m)^%YAML 1\.\d+[ \t]*(\r?)$`)

// withoutDirective empties that line, so that the numbers of the lines stay.
func withoutDirective(data []byte) []byte { return directive.ReplaceAll(data, []byte("$1")) }

// flatLine is a line of Flink's old file flink-conf.yaml: a key, a colon, a space, and any value.
var flatLine = regexp.MustCompile(`^([A-Za-z$][\w.$-]*):\s+(\S.*)$`)

// flatLines reads a file of flat keys as Flink 1 read flink-conf.yaml: line by line, with any value. Such a file need
// not be YAML: a value may hold a colon, or begin with a percent sign. It answers false for a file that has any other
// line.
func flatLines(data []byte) ([]pair, bool) {
	var pairs []pair
	for i, line := range strings.Split(string(bytes.TrimPrefix(data, []byte("\ufeff"))), "\n") {
		if line = strings.TrimRight(line, " \t\r"); line == "" || strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		m := flatLine.FindStringSubmatch(line)
		if m == nil {
			return nil, false
		}
		value, _, _ := strings.Cut(m[2], " #")
		pairs = append(pairs, pair{key: m[1], value: unquoted(strings.TrimSpace(value)), line: i + 1})
	}
	return pairs, true
}

func unquoted(v string) string {
	if n := len(v); n >= 2 && (v[0] == '"' || v[0] == '\'') && v[n-1] == v[0] {
		return v[1 : n-1]
	}
	return v
}

// tabbed is a line that a tab indents.
var tabbed = regexp.MustCompile(`(?m)^ *\t`)

// explain adds the usual cause to an error of the parser.
func explain(err error, data []byte) error {
	if at := tabbed.FindIndex(data); at != nil {
		return fmt.Errorf("line %d begins with a tab: YAML is indented with spaces (%w)", 1+bytes.Count(data[:at[0]], []byte("\n")), err)
	}
	return err
}
