package file

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A disk is a model of what POSIX promises for the file system below one real folder. The folder itself is durable.
//
// Only synced data is sure to survive a power cut. Any other single thing may survive or not. Every name may be any
// file, or none, that had the name since its folder was synced. Every file that was not synced may hold any bytes.
// Real file systems keep more, but nothing may rely on that. Calls are mirrored one at a time.
type disk struct {
	base string
	root *node
	open map[*os.File]*node
	made int
	// changed since the last call of images.
	changed bool
	// stores that have probed the root, numbered.
	stores map[string]int
}

// A node is a folder or a file.
type node struct {
	id int
	// names of a folder. A list begins with the file at the folder's sync (nil: absent); the later files follow, and
	// the last is the current one.
	names map[string][]*node
	// bytes of a file, and the bytes that are certain.
	now, synced string
}

func newDisk(base string) *disk {
	d := &disk{base: base, open: map[*os.File]*node{}, stores: map[string]int{}}
	d.root = d.node(true)
	return d
}

func (d *disk) node(folder bool) *node {
	d.made++
	d.changed = true
	n := &node{id: d.made}
	if folder {
		n.names = map[string][]*node{}
	}
	return n
}

func (n *node) is(name string) *node {
	values := n.names[name]
	if len(values) == 0 {
		return nil
	}
	return values[len(values)-1]
}

func (n *node) become(name string, to *node) {
	if len(n.names[name]) == 0 {
		n.names[name] = []*node{nil}
	}
	n.names[name] = append(n.names[name], to)
}

func (n *node) syncNames() {
	for name := range n.names {
		if now := n.is(name); now == nil {
			delete(n.names, name)
		} else {
			n.names[name] = []*node{now}
		}
	}
}

// find returns the node at a path, or nil, also for a path outside of the folder.
func (d *disk) find(path string) *node {
	rel, err := filepath.Rel(d.base, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return nil
	}
	n := d.root
	for element := range strings.SplitSeq(rel, "/") {
		if element == "." {
			continue
		}
		if n == nil || n.names == nil {
			return nil
		}
		n = n.is(element)
	}
	return n
}

// set changes the node of a path.
func (d *disk) set(path string, to *node) {
	if folder := d.find(filepath.Dir(path)); folder != nil {
		folder.become(filepath.Base(path), to)
		d.changed = true
	}
}

// mirror applies the calls of sys to the model. For lies see TestPowerCutsAreNoticed.
func (d *disk) mirror(sys *system, lies func(call, path string) bool) {
	real := *sys
	open := func(do func(string) (*os.File, error), made func(path string) *node) func(string) (*os.File, error) {
		return func(path string) (*os.File, error) {
			f, err := do(path)
			if err == nil {
				d.open[f] = made(path)
			}
			return f, err
		}
	}
	sys.openUnnamed = open(real.openUnnamed, func(string) *node { return d.node(false) })
	sys.createTemp = open(real.createTemp, func(path string) *node { n := d.node(false); d.set(path, n); return n })
	sys.openDir = open(real.openDir, d.find)
	sys.write = func(f *os.File, p []byte) (int, error) {
		n, err := real.write(f, p)
		d.open[f].now += string(p[:n])
		d.changed = true
		return n, err
	}
	sys.sync = func(f *os.File) error {
		if n := d.open[f]; !lies("sync", f.Name()) {
			n.synced = n.now
			d.changed = true
		}
		return nil
	}
	sys.syncDir = func(f *os.File) error {
		if n := d.open[f]; n != nil && !lies("sync folder", f.Name()) {
			n.syncNames()
			d.changed = true
		}
		return nil
	}
	sys.link = func(f *os.File, path string, dir *os.File, name string) error {
		err := real.link(f, path, dir, name)
		if err == nil {
			d.open[dir].become(name, d.open[f])
			d.changed = true
		}
		return err
	}
	change := func(do func(string) error, to func() *node) func(string) error {
		return func(path string) error {
			err := do(path)
			if err == nil {
				d.set(path, to())
			}
			return err
		}
	}
	nothing := func() *node { return nil }
	sys.mkdir = change(real.mkdir, func() *node { return d.node(true) })
	sys.unlink, sys.rmdir = change(real.unlink, nothing), change(real.rmdir, nothing)
}

// An image is what a power cut leaves: files by path, with their bytes, and folders by path with "/" at the end.
type image map[string]string

func (i image) String() string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(i)) {
		fmt.Fprintf(&b, "%s=%q ", path, i[path])
	}
	return b.String()
}

// images returns everything that a power cut could leave now.
func (d *disk) images() []image { return d.root.images("") }

func (n *node) images(prefix string) []image {
	all := []image{{}}
	for _, name := range slices.Sorted(maps.Keys(n.names)) {
		var options []image
		seen := map[*node]bool{}
		for _, value := range n.names[name] {
			if seen[value] {
				continue
			}
			seen[value] = true
			switch path := prefix + name; {
			case value == nil:
				options = append(options, image{})
			case value.names == nil:
				for _, content := range value.contents() {
					options = append(options, image{path: content})
				}
			default:
				for _, below := range value.images(path + "/") {
					below[path+"/"] = ""
					options = append(options, below)
				}
			}
		}
		all = product(all, options)
	}
	return all
}

func product(as, bs []image) []image {
	if len(bs) == 1 {
		for _, a := range as {
			maps.Copy(a, bs[0])
		}
		return as
	}
	both := make([]image, 0, len(as)*len(bs))
	for _, a := range as {
		for _, b := range bs {
			c := maps.Clone(a)
			maps.Copy(c, b)
			both = append(both, c)
		}
	}
	return both
}

// contents returns what a file may hold: the synced bytes, or all, half or none of its bytes.
func (n *node) contents() []string {
	if n.now == n.synced {
		return []string{n.now}
	}
	return []string{n.synced, n.now, n.now[:len(n.synced)+(len(n.now)-len(n.synced))/2], n.synced + strings.Repeat("\x00", len(n.now)-len(n.synced))}
}

// uncertain describes the disk with everything that may become of it, so that a search recognizes a state that it has
// seen.
func (d *disk) uncertain() string {
	var b strings.Builder
	d.describe(d.root, &b)
	return b.String()
}

func (d *disk) describe(n *node, b *strings.Builder) {
	switch {
	case n == nil:
		b.WriteString("-")
	case n.names == nil:
		fmt.Fprintf(b, "%q/%q", n.synced, n.now)
	default:
		b.WriteString("{")
		for _, name := range slices.Sorted(maps.Keys(n.names)) {
			b.WriteString(d.alias(name))
			b.WriteString(":")
			for _, value := range n.names[name] {
				d.describe(value, b)
				b.WriteString(",")
			}
		}
		b.WriteString("}")
	}
}

// alias replaces the random part of a probe's name by the number of its store, because no two random parts are alike.
func (d *disk) alias(name string) string {
	unique, ok := strings.CutPrefix(name, probeName)
	end := strings.LastIndexByte(unique, '-')
	if !ok || end < 0 {
		return name
	}
	number, ok := d.stores[unique[:end]]
	if !ok {
		number = len(d.stores)
		d.stores[unique[:end]] = number
	}
	return fmt.Sprint(probeName, number, unique[end:])
}
