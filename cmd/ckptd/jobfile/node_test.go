package jobfile

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

type embedded struct {
	Topic string        `yaml:"topic"`
	Wait  time.Duration `yaml:"wait"`
	Names nameList      `yaml:"names"`
	Not   int           `yaml:"-"`
}

type nameList []string

func (n *nameList) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.SequenceNode {
		return fmt.Errorf("line %d: want a list of names", node.Line)
	}
	return node.Decode((*[]string)(n))
}

// Options of connectors may be embedded, and may have types that decode themselves.
func TestOptionsOfEmbeddedStructs(t *testing.T) {
	for text, want := range map[string]string{
		"{topic: t, wait: 3s, names: [a]}": "",
		"{topic: t, wait: soon}":           `f:1:18: wait is "soon"; want a duration, like 10s`,
		"{names: a}":                       "f:1:9: names: want a list of names",
		"{not: 1}":                         "f:1:2: not is unknown in it; allowed: topic, wait, names",
	} {
		var node yaml.Node
		if err := yaml.Unmarshal([]byte(text), &node); err != nil {
			t.Fatal(err)
		}
		p := &parser{name: "f"}
		o := struct{ embedded }{}
		p.options(node.Content[0], "it", &o)
		if err := errors.Join(p.problems...); want == "" && (err != nil || o.Wait != 3*time.Second || len(o.Names) != 1) || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: %+v, %v; want %q", text, o, err, want)
		}
	}
}
