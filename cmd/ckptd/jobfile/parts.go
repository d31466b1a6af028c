package jobfile

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ckptd/ckptd/runtime/connectors"
	"github.com/ckptd/ckptd/service/config"
)

// connector is a source or a sink as the file names it.
type connector struct {
	mapping   *mapping
	name, uid string
	source    connectors.Source
	sink      connectors.Sink
}

// connector reads a source or a sink: keys of its own, and one key that names the connector, with its options. The result is
// nil if it is no mapping.
func (p *parser) connector(node *yaml.Node, what string, own ...string) *connector {
	var names []string
	for _, c := range connectors.All() {
		if what == keySource && c.Source != nil || what == keySink && c.Sink != nil {
			names = append(names, c.Name)
		}
	}
	m := p.mapping(node, what, append(slices.Clone(names), own...)...)
	if m == nil {
		return nil
	}
	c := &connector{mapping: m}
	c.uid = p.uid(m)
	given := slices.DeleteFunc(slices.Clone(m.names), func(name string) bool { return !slices.Contains(names, name) })
	switch {
	case len(given) == 0 && len(m.names) == len(m.node.Content)/2: // otherwise a key is wrong, and that is said
		p.problem(m.node, "%s names no connector; want one of %s", what, strings.Join(names, ", "))
	case len(given) > 1:
		p.problem(m.keys[given[1]], "%s has two connectors, %s and %s; want one", what, given[0], given[1])
	case len(given) == 1:
		c.name = given[0]
		p.open(c, what)
	}
	return c
}

// open reads the connector's options.
func (p *parser) open(c *connector, what string) {
	i := slices.IndexFunc(connectors.All(), func(row connectors.Connector) bool { return row.Name == c.name })
	row, node, before := connectors.All()[i], c.mapping.get(c.name), len(p.problems)
	var options connectors.Options
	if what == keySource {
		c.source = row.Source()
		options = c.source
	} else {
		c.sink = row.Sink()
		options = c.sink
	}
	p.options(node, c.name, options)
	if len(p.problems) > before {
		return
	}
	if r, ok := options.(connectors.Rebaser); ok {
		r.Rebase(p.folder)
	}
	if paced, ok := options.(connectors.Paced); ok {
		paced.CheckpointEvery(p.out.Config.Job.GetInterval().AsDuration())
	}
	if err := options.Validate(); err != nil {
		p.problem(node, "%s: %s", c.name, strings.TrimPrefix(err.Error(), c.name+": "))
	}
}

// uid reads the uid of a step, which no other step may have.
func (p *parser) uid(m *mapping) (uid string) {
	p.scalar(m, keyUID, &uid)
	node := m.get(keyUID)
	if node == nil {
		return ""
	}
	if first := p.uids[uid]; first != nil {
		p.problem(node, "uid %q is given twice; it is in line %d already", uid, first.Line)
	} else if !validUID.MatchString(uid) {
		p.problem(node, "uid %q: want 1 to 128 of letters, digits and . _ -, with a letter or digit first", uid)
	}
	p.uids[uid] = node
	return uid
}

// keyDefaultParallelism is Flink's key for the parallelism of a job.
const keyDefaultParallelism = "parallelism.default"

// configuration reads Flink's keys, flat or nested.
func (p *parser) configuration(node *yaml.Node) {
	p.out.Config, _ = config.Parse(nil)
	if node == nil || node.Tag == "!!null" {
		return
	}
	before := len(p.problems)
	var flat yaml.Node
	flat.Kind = yaml.MappingNode
	p.flatten(&flat, "", node)
	if len(p.problems) > before {
		return
	}
	for i := 0; i < len(flat.Content); i += 2 { // each key alone, so that a mistake has a place
		k, v := flat.Content[i], flat.Content[i+1]
		if _, err := config.Parse(marshal(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{k, v}})); err != nil {
			p.problem(k, "%s", plain(err))
		}
		if k.Value == keyDefaultParallelism && p.defaults.subtasks == 0 {
			p.decode(v, k.Value, &p.defaults.subtasks)
			if p.defaults.subtasks < 1 || p.defaults.subtasks > mostParallel {
				p.problem(v, "%s %s: want 1 to %d", k.Value, v.Value, mostParallel)
			}
		}
	}
	if len(p.problems) > before {
		return
	}
	var err error
	if p.out.Config, err = config.Parse(marshal(&flat)); err != nil {
		p.problem(node, "%s", plain(err))
	}
}

// flatten appends the keys and values below a node, the keys joined with dots.
func (p *parser) flatten(into *yaml.Node, prefix string, node *yaml.Node) {
	m := p.mapping(node, keyConfiguration)
	if m == nil {
		return
	}
	for _, name := range m.names {
		k, v := *m.keys[name], m.get(name)
		k.Value = prefix + name
		if v.Kind == yaml.MappingNode {
			p.flatten(into, k.Value+".", v)
			continue
		}
		into.Content = append(into.Content, &k, v)
	}
}

func marshal(node *yaml.Node) []byte {
	b, err := yaml.Marshal(node)
	if err != nil {
		panic(err) // nodes that were read can be written
	}
	return b
}

// plain is an error of package config without the line, which is that of a copy.
func plain(err error) string {
	var texts []string
	for line := range strings.Lines(err.Error()) {
		text := strings.TrimPrefix(strings.TrimSpace(line), "config: ")
		if rest, ok := strings.CutPrefix(text, "line "); ok {
			_, text, _ = strings.Cut(rest, ": ")
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}
