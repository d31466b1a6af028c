package jobfile

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"go.yaml.in/yaml/v3"

	"github.com/ckptd/ckptd/runtime/rows"
	"github.com/ckptd/ckptd/runtime/stream"
)

// The steps.
const (
	stepFilter = "filter"
	stepMap    = "map"
	stepKeyBy  = "keyBy"
	stepReduce = "reduce"
)

var (
	steps    = []string{stepFilter, stepMap, stepKeyBy, stepReduce}
	validUID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
)

// chain is the stream so far. keyed is set between keyBy and reduce.
type chain struct {
	rows  stream.Stream[rows.Row]
	keyed *key
	// node is the step that set keyed.
	node *yaml.Node
	// broken: a step is wrong, so that the steps behind it are only checked.
	broken bool
}

// key is the key of keyBy.
type key struct {
	keyed      stream.Keyed[rows.Row]
	fields     []field
	unreadable stream.Unreadable
}

// field is a field of a row, and the expression that computes it.
type field struct {
	name  string
	value *expression
}

// steps reads the list of steps.
func (p *parser) steps(source stream.Stream[rows.Row], node *yaml.Node) stream.Stream[rows.Row] {
	c := &chain{rows: source, broken: len(p.problems) > 0}
	if node != nil && node.Tag != "!!null" {
		if node.Kind != yaml.SequenceNode {
			p.problem(node, "steps is %s; want a list of %s", shape(node), strings.Join(steps, ", "))
			return source
		}
		for _, n := range node.Content {
			p.step(c, resolved(n))
		}
	}
	if c.keyed != nil {
		p.problem(c.node, "keyBy has no reduce behind it; a stream with keys needs one")
	}
	return c.rows
}

func (p *parser) step(c *chain, node *yaml.Node) {
	m := p.mapping(node, "a step", append(slices.Clone(steps), keyUID)...)
	if m == nil {
		c.broken = true
		return
	}
	uid := p.uid(m)
	kinds := slices.DeleteFunc(slices.Clone(m.names), func(name string) bool { return name == keyUID })
	switch {
	case len(kinds) == 0:
		p.problem(node, "a step names nothing to do; want one of %s", strings.Join(steps, ", "))
		return
	case len(kinds) > 1:
		p.problem(m.keys[kinds[1]], "one step has two things to do, %s and %s; want one, and a list entry (-) for each", kinds[0], kinds[1])
		return
	}
	kind, value := kinds[0], m.get(kinds[0])
	if c.keyed != nil && kind != stepReduce {
		p.problem(m.keys[kind], "%s stands between keyBy and reduce; put it before keyBy or behind reduce", kind)
		return
	}
	before := len(p.problems)
	switch kind {
	case stepFilter:
		p.filter(c, value)
	case stepMap:
		p.mapStep(c, value)
	case stepKeyBy:
		p.keyBy(c, m.keys[kind], value, uid)
		return
	case stepReduce:
		p.reduce(c, m.keys[kind], value)
	}
	if c.broken = c.broken || len(p.problems) > before; !c.broken {
		c.rows = c.rows.UID(uid)
	}
}

func (p *parser) filter(c *chain, node *yaml.Node) {
	keep := p.expression(node, stepFilter, cel.BoolType)
	if keep == nil || c.broken {
		return
	}
	unreadable := p.unreadable
	c.rows = stream.Step(c.rows, stepFilter, rows.Codec{}, func(row rows.Row, emit func(rows.Row) error) error {
		v, err := keep.eval(row)
		if err != nil {
			return leaveOut(unreadable, row, err)
		}
		switch v {
		case true:
			return emit(row)
		case false, nil:
			return nil
		}
		return leaveOut(unreadable, row, keep.failed("the value is %v; want true or false", v))
	})
}

// leaveOut decides on a row for which an expression fails, as on a record that cannot be read.
func leaveOut(u stream.Unreadable, row rows.Row, cause error) error {
	text, err := rows.AppendValue(nil, row)
	if err != nil {
		return errors.Join(cause, err)
	}
	return u.LeaveOut(text, cause)
}

// mapStep reads a map: a mapping from fields to expressions, or one expression that gives the whole row.
func (p *parser) mapStep(c *chain, node *yaml.Node) {
	var whole *expression
	var fields []field
	if node.Kind == yaml.MappingNode {
		if fields = p.fields(node, stepMap); len(fields) == 0 {
			return
		}
	} else if whole = p.expression(node, stepMap, cel.MapType(cel.StringType, cel.DynType)); whole == nil {
		return
	}
	if c.broken {
		return
	}
	unreadable := p.unreadable
	c.rows = stream.Step(c.rows, stepMap, rows.Codec{}, func(row rows.Row, emit func(rows.Row) error) error {
		out, err := mapped(row, whole, fields)
		if err != nil {
			return leaveOut(unreadable, row, err)
		}
		return emit(out)
	})
}

func mapped(row rows.Row, whole *expression, fields []field) (rows.Row, error) {
	if whole != nil {
		v, err := whole.eval(row)
		out, ok := v.(rows.Row)
		if err == nil && !ok {
			err = whole.failed("the value is %v; want a map, like {'user': row.user}", v)
		}
		return out, err
	}
	out := make(rows.Row, len(fields))
	return out, evalInto(out, row, fields)
}

// evalInto sets the fields of out to their values for a row.
func evalInto(out, row rows.Row, fields []field) error {
	for _, f := range fields {
		v, err := f.value.eval(row)
		if err != nil {
			return err
		}
		out[f.name] = v
	}
	return nil
}

// fields reads a mapping from fields to expressions.
func (p *parser) fields(node *yaml.Node, what string) []field {
	m := p.mapping(node, what)
	var all []field
	for _, name := range m.names {
		if e := p.expression(m.get(name), what+" "+name); e != nil {
			all = append(all, field{name, e})
		}
	}
	if len(m.names) == 0 {
		p.problem(node, "%s is empty; want fields with expressions, like user: row.user", what)
	}
	return all
}

// selected is an expression that is a field of the row and nothing else.
var selected = regexp.MustCompile(`^` + rowVariable + `\.([A-Za-z_][A-Za-z0-9_]*)$`)

// keyBy reads a key: an expression, or a mapping from fields to expressions. The fields come back in the row of reduce.
func (p *parser) keyBy(c *chain, at, node *yaml.Node, uid string) {
	c.node = at
	k := &key{unreadable: p.unreadable}
	if node.Kind == yaml.MappingNode {
		k.fields = p.fields(node, stepKeyBy)
	} else if e := p.expression(node, stepKeyBy, cel.StringType, cel.IntType, cel.BoolType); e != nil {
		name := "key"
		if m := selected.FindStringSubmatch(strings.TrimSpace(node.Value)); m != nil {
			name = m[1]
		}
		k.fields = []field{{name, e}}
	}
	c.keyed = k
	if c.broken = c.broken || len(k.fields) == 0; c.broken {
		return
	}
	k.keyed = c.rows.KeyByBytes(k.append).UID(uid)
}

// append appends the bytes of the key: a single text as it is, anything else as JSON.
func (k *key) append(dst []byte, row rows.Row) ([]byte, error) {
	values := make([]any, len(k.fields))
	for i, f := range k.fields {
		v, err := f.value.eval(row)
		if err != nil {
			return dst, cmp.Or(leaveOut(k.unreadable, row, err), stream.ErrLeftOut)
		}
		values[i] = v
	}
	if len(values) > 1 {
		return rows.AppendValue(dst, values)
	}
	if text, ok := values[0].(string); ok {
		return append(dst, text...), nil
	}
	return rows.AppendValue(dst, values[0])
}

// reduce reads aggregates: a mapping from fields to one of them each.
func (p *parser) reduce(c *chain, at, node *yaml.Node) {
	k := c.keyed
	c.keyed = nil
	if k == nil {
		p.problem(at, "reduce has no keyBy before it; a step keyBy says what the rows are grouped by")
		return
	}
	all := p.aggregates(node, k.fields)
	if len(all) == 0 || c.broken {
		return
	}
	add := func(values []any, row rows.Row) ([]any, error) {
		values, err := addAll(values, all, row)
		if err != nil {
			err = cmp.Or(leaveOut(k.unreadable, row, err), stream.ErrLeftOut)
		}
		return values, err
	}
	c.rows = stream.Aggregate(k.keyed, stream.Aggregator[rows.Row, []any, rows.Row]{
		Kind: stepReduce, State: rows.Values{}, Out: rows.Codec{},
		Init: func(row rows.Row) ([]any, error) {
			return add(make([]any, len(all)), row)
		},
		Add: func(values []any, row rows.Row) ([]any, error) {
			if len(values) != len(all) {
				return nil, fmt.Errorf("jobfile: the state of a key holds %d aggregates, the job has %d; they cannot change in a job with state", len(values), len(all))
			}
			return add(values, row)
		},
		Result: func(_ []byte, values []any, row rows.Row) (rows.Row, error) {
			out := make(rows.Row, len(k.fields)+len(all))
			for i, a := range all {
				out[a.name] = values[i]
			}
			return out, evalInto(out, row, k.fields)
		},
	})
}
