package jobfile

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"
)

// problem notes a mistake at a place of the file.
func (p *parser) problem(at *yaml.Node, format string, args ...any) {
	p.problemAt(at.Line, at.Column, format, args...)
}

func (p *parser) problemAt(line, column int, format string, args ...any) {
	p.problems = append(p.problems, fmt.Errorf("%s:%d:%d: %s", p.name, line, column, fmt.Sprintf(format, args...)))
}

// mapping is a mapping of YAML with the nodes of its keys.
type mapping struct {
	node   *yaml.Node
	names  []string
	keys   map[string]*yaml.Node
	values map[string]*yaml.Node
}

// get returns the value of a key; nil: the key is not there.
func (m *mapping) get(key string) *yaml.Node {
	if m == nil {
		return nil
	}
	return m.values[key]
}

// mapping reads a mapping with any of the allowed keys; no allowed keys: all are. what names it, for messages. The result
// is nil if it is no mapping.
func (p *parser) mapping(node *yaml.Node, what string, allowed ...string) *mapping {
	node = resolved(node)
	if node.Kind != yaml.MappingNode {
		keys := "any keys"
		if len(allowed) > 0 {
			keys = strings.Join(allowed, ", ")
		}
		p.problem(node, "%s is %s; want a mapping with %s", what, shape(node), keys)
		return nil
	}
	m := &mapping{node: node, keys: map[string]*yaml.Node{}, values: map[string]*yaml.Node{}}
	for i := 0; i+1 < len(node.Content); i += 2 {
		k, v := node.Content[i], resolved(node.Content[i+1])
		name := k.Value
		switch first := m.keys[name]; {
		case k.Kind != yaml.ScalarNode:
			p.problem(k, "a key of %s is %s; want a word", what, shape(k))
		case first != nil:
			p.problem(k, "%s is given twice; it is in line %d already", name, first.Line)
		case len(allowed) > 0 && !slices.Contains(allowed, name):
			p.problem(k, "%s is unknown in %s%s; allowed: %s", name, what, nearest(name, allowed), strings.Join(allowed, ", "))
		default:
			m.names, m.keys[name], m.values[name] = append(m.names, name), k, v
		}
	}
	return m
}

// needed returns the value of a key that has to be there.
func (p *parser) needed(m *mapping, key string) *yaml.Node {
	v := m.get(key)
	if v == nil {
		p.problem(m.node, "%s is missing", key)
	}
	return v
}

// resolved follows an alias.
func resolved(node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

// nearest suggests the allowed key that a person may have meant.
func nearest(name string, allowed []string) string {
	best, distance := "", len(name)/3+2
	for _, a := range allowed {
		if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(a)); d < distance {
			best, distance = a, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// shape says what a node is, for people.
func shape(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	if node.Tag == "!!null" {
		return "empty"
	}
	return fmt.Sprintf("%q", node.Value)
}

// scalar decodes the value of a key, if it is there.
func (p *parser) scalar(m *mapping, key string, into any) {
	if v := m.get(key); v != nil {
		p.decode(v, key, into)
	}
}

// decode decodes a value, and says what is wanted if it cannot be decoded.
func (p *parser) decode(node *yaml.Node, what string, into any) {
	err := node.Decode(into)
	_, own := into.(yaml.Unmarshaler)
	switch {
	case err != nil && own: // the type says best what it wants
		p.problem(node, "%s: %s", what, strings.TrimPrefix(plain(err), what+": "))
	case err != nil, node.Tag == "!!null":
		p.problem(node, "%s is %s; want %s", what, shape(node), wanted(reflect.TypeOf(into).Elem()))
	}
}

// wanted names a type for people.
func wanted(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "a duration, like 10s"
	case t == reflect.TypeFor[time.Time]():
		return "a time, like 2026-01-02T15:04:05Z"
	}
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Int32:
		return "a whole number"
	case reflect.Uint, reflect.Uint64, reflect.Uint32:
		return "a whole number, 0 or more"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	}
	return "a mapping"
}

// options decodes a mapping into the fields of a struct, by their tags.
func (p *parser) options(node *yaml.Node, what string, into any) {
	fields := map[string]reflect.Value{}
	allowed := fieldsOf(reflect.ValueOf(into).Elem(), fields)
	if len(allowed) == 0 {
		if node.Tag != "!!null" && len(node.Content) > 0 {
			p.problem(node, "%s has no options", what)
		}
		return
	}
	if node.Tag == "!!null" { // all options have their defaults
		return
	}
	m := p.mapping(node, what, allowed...)
	if m == nil {
		return
	}
	for _, name := range m.names {
		p.decode(m.get(name), name, fields[name].Addr().Interface())
	}
}

// fieldsOf finds the fields of a struct by their tags, also those of structs that it embeds. It returns the names in order.
func fieldsOf(v reflect.Value, fields map[string]reflect.Value) (names []string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case f.Anonymous && name == "" && v.Field(i).Kind() == reflect.Struct:
			names = append(names, fieldsOf(v.Field(i), fields)...)
		case name != "" && name != "-":
			fields[name] = v.Field(i)
			names = append(names, name)
		}
	}
	return names
}
