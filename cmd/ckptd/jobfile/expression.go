package jobfile

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
	"go.yaml.in/yaml/v3"

	"github.com/ckptd/ckptd/runtime/rows"
)

// rowVariable is the name under which an expression sees the row.
const rowVariable = "row"

// expressions compiles expressions of CEL.
type expressions struct{ env *cel.Env }

func newExpressions() (*expressions, error) {
	env, err := cel.NewEnv(cel.Variable(rowVariable, cel.MapType(cel.StringType, cel.DynType)), cel.CrossTypeNumericComparisons(true),
		cel.OptionalTypes(), ext.Strings(), ext.Math())
	if err != nil {
		return nil, fmt.Errorf("jobfile: expressions: %w", err)
	}
	return &expressions{env}, nil
}

// expression is a compiled expression. It is safe for concurrent use.
type expression struct {
	text, place string
	program     cel.Program
}

// expression compiles the text of a node. what names it, for messages; kinds are the types that its result may have, if the
// compiler knows it. The result is nil if the expression is wrong.
func (p *parser) expression(node *yaml.Node, what string, kinds ...*cel.Type) *expression {
	if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		p.problem(node, "%s is %s; want an expression of CEL, like row.user", what, shape(node))
		return nil
	}
	ast, issues := p.env.env.Compile(node.Value)
	if issues.Err() != nil {
		for _, e := range issues.Errors() {
			line, column := p.within(node, e.Location.Line(), e.Location.Column())
			p.problemAt(line, column, "%s: %s", what, explained(e.Message))
		}
		return nil
	}
	if !fits(ast.OutputType(), kinds) {
		p.problem(node, "%s: the expression gives %s; want %s", what, ast.OutputType(), strings.Join(names(kinds), " or "))
		return nil
	}
	program, err := p.env.env.Program(ast, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		p.problem(node, "%s: %v", what, err)
		return nil
	}
	return &expression{text: node.Value, place: fmt.Sprintf("%s:%d:%d", p.name, node.Line, node.Column), program: program}
}

// within is the place in the file of a place in an expression. The line of an expression begins with 1, its column with 0.
func (p *parser) within(node *yaml.Node, line, column int) (fileLine, fileColumn int) {
	switch node.Style &^ yaml.TaggedStyle {
	case yaml.LiteralStyle:
		fileLine = node.Line + line
		block := strings.Split(node.Value, "\n")
		if fileLine <= len(p.lines) && line >= 1 && line <= len(block) {
			column += max(0, len(strings.TrimRight(p.lines[fileLine-1], "\r"))-len(block[line-1])) // what the block is indented
		}
		return fileLine, 1 + column
	case yaml.FoldedStyle:
		return node.Line + 1, 1 + column
	case yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle:
		column++
	}
	return node.Line, node.Column + column
}

// explained adds to a message of the compiler what the usual mistake is.
func explained(message string) string {
	if rest, ok := strings.CutPrefix(message, "undeclared reference to '"); ok {
		name, _, _ := strings.Cut(rest, "'")
		return fmt.Sprintf("%s is unknown; a field of the row is %s.%s", name, rowVariable, name)
	}
	message, _, _ = strings.Cut(message, "\n")
	return message
}

func fits(t *cel.Type, kinds []*cel.Type) bool {
	if len(kinds) == 0 || t.Kind() == types.DynKind {
		return true
	}
	for _, k := range kinds {
		if t.Kind() == k.Kind() {
			return true
		}
	}
	return false
}

func names(kinds []*cel.Type) []string {
	var all []string
	for _, k := range kinds {
		all = append(all, k.String())
	}
	return all
}

// eval evaluates the expression for a row.
func (e *expression) eval(row rows.Row) (any, error) {
	v, _, err := e.program.Eval(map[string]any{rowVariable: row})
	if err == nil {
		var out any
		if out, err = goValue(v); err == nil {
			return out, nil
		}
	}
	return nil, fmt.Errorf("%s: %s: %w", e.place, e.text, err)
}

// failed is an error about the value of an expression.
func (e *expression) failed(format string, args ...any) error {
	return fmt.Errorf("%s: %s: %s", e.place, e.text, fmt.Sprintf(format, args...))
}

// goValue is a value of CEL as the value of a row.
func goValue(v ref.Val) (any, error) {
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case types.Bool, types.Int, types.Double, types.String:
		return v.Value(), nil
	case types.Uint:
		return number(v)
	case types.Timestamp, types.Duration:
		text := v.ConvertToType(types.StringType)
		if err, bad := text.(*types.Err); bad {
			return nil, err
		}
		return text.Value(), nil
	case *types.Optional:
		if !v.HasValue() {
			return nil, nil
		}
		return goValue(v.GetValue())
	case traits.Mapper:
		return goRow(v)
	case traits.Lister:
		list := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			item, err := goValue(it.Next())
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		return list, nil
	}
	return nil, fmt.Errorf("a value of type %s cannot be in a row; convert it, as string(…)", v.Type().TypeName())
}

// number is an unsigned number as the number of a row.
func number(v types.Uint) (any, error) {
	if n := int64(v); n >= 0 {
		return n, nil
	}
	return float64(v), nil
}

func goRow(m traits.Mapper) (any, error) {
	row := rows.Row{}
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.Value().(string)
		if !ok {
			return nil, fmt.Errorf("the field %v of a row has no text as its name", key.Value())
		}
		v, err := goValue(m.Get(key))
		if err != nil {
			return nil, err
		}
		row[name] = v
	}
	return row, nil
}
