package jobfile

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ckptd/ckptd/runtime/rows"
)

// aggregate is one field of reduce.
type aggregate struct {
	name string
	// add returns the aggregate of a key with a further value; nil: there was none before.
	add func(before, value any) (any, error)
	// value is nil for count.
	value *expression
}

// The kinds of aggregates.
var (
	aggregateKinds = []string{"count", "sum", "min", "max", "last"}
	adders         = map[string]func(before, value any) (any, error){
		"count": func(before, _ any) (any, error) { return sum(before, int64(1)) },
		"sum":   sum,
		"min":   func(before, value any) (any, error) { return extreme(before, value, -1) },
		"max":   func(before, value any) (any, error) { return extreme(before, value, 1) },
		"last":  func(_, value any) (any, error) { return value, nil },
	}
)

// aggregates reads the fields of reduce. The fields of the key are in the result, too.
func (p *parser) aggregates(node *yaml.Node, key []field) []aggregate {
	if node.Kind != yaml.MappingNode {
		p.problem(node, "reduce is %s; want fields with aggregates, like clicks: count or total: {sum: row.price}", shape(node))
		return nil
	}
	m := p.mapping(node, stepReduce)
	if len(m.names) == 0 {
		p.problem(node, "reduce is empty; want fields with aggregates, like clicks: count")
	}
	var all []aggregate
	for _, name := range m.names {
		for _, f := range key {
			if f.name == name {
				p.problem(m.keys[name], "%s is a field of the key already; choose another name", name)
			}
		}
		if a := p.aggregate(name, m.get(name)); a != nil {
			all = append(all, *a)
		}
	}
	return all
}

func (p *parser) aggregate(name string, node *yaml.Node) *aggregate {
	want := "want " + strings.Join(aggregateKinds, ", ") + ", like {sum: row.price}, or count"
	if node.Kind == yaml.ScalarNode {
		switch {
		case node.Value == "count":
			return &aggregate{name: name, add: adders["count"]}
		case adders[node.Value] != nil:
			p.problem(node, "%s needs an expression: {%s: row.price}", node.Value, node.Value)
		default:
			p.problem(node, "%s is %s; %s", name, shape(node), want)
		}
		return nil
	}
	m := p.mapping(node, "an aggregate", aggregateKinds...)
	if m == nil || len(m.names) == 0 && len(node.Content) > 0 {
		return nil
	}
	if len(m.names) != 1 {
		p.problem(node, "%s has %d aggregates; %s", name, len(m.names), want)
		return nil
	}
	kind := m.names[0]
	if kind == "count" {
		p.problem(m.get(kind), "count takes no expression; write %s: count", name)
		return nil
	}
	value := p.expression(m.get(kind), kind)
	if value == nil {
		return nil
	}
	return &aggregate{name: name, add: adders[kind], value: value}
}

// addAll adds a row to all aggregates.
func addAll(values []any, all []aggregate, row rows.Row) ([]any, error) {
	for i, a := range all {
		var v any
		var err error
		if a.value != nil {
			if v, err = a.value.eval(row); err != nil {
				return nil, err
			}
		}
		if values[i], err = a.add(values[i], v); err != nil {
			if a.value != nil {
				return nil, a.value.failed("%v", err)
			}
			return nil, err
		}
	}
	return values, nil
}

// sum adds two numbers. Whole numbers stay whole. null counts as nothing.
func sum(before, value any) (any, error) {
	if value == nil {
		return before, nil
	}
	if before == nil {
		before = int64(0)
	}
	a, wholeA := before.(int64)
	b, wholeB := value.(int64)
	if wholeA && wholeB {
		if c := a + b; (c > a) == (b > 0) {
			return c, nil
		}
		return nil, fmt.Errorf("the sum %d + %d is too large; sum double(…)", a, b)
	}
	x, err := toFloat(before)
	if err != nil {
		return nil, err
	}
	y, err := toFloat(value)
	return x + y, err
}

func toFloat(v any) (float64, error) {
	switch v := v.(type) {
	case int64:
		return float64(v), nil
	case float64:
		return v, nil
	}
	return 0, fmt.Errorf("%v is no number", v)
}

// extreme returns the smaller (sign -1) or the larger (1) of two numbers or texts. null counts as nothing.
func extreme(before, value any, sign int) (any, error) {
	switch {
	case value == nil:
		return before, nil
	case before == nil:
		before = value
	}
	order, err := compare(value, before)
	if err != nil {
		return nil, err
	}
	if order == sign {
		return value, nil
	}
	return before, nil
}

func compare(a, b any) (int, error) {
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			return strings.Compare(x, y), nil
		}
	}
	if x, ok := a.(int64); ok {
		if y, ok := b.(int64); ok {
			return cmp.Compare(x, y), nil
		}
	}
	x, errX := toFloat(a)
	y, errY := toFloat(b)
	if errX != nil || errY != nil {
		return 0, errors.New("min and max compare numbers with numbers, and texts with texts")
	}
	return cmp.Compare(x, y), nil
}
