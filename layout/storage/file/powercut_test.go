package file

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

// A world is two processes over one root. One of them runs at a time, and the power of their disk may be cut after
// every call.
type world struct {
	t     *testing.T
	disk  *disk
	root  string
	sys   func() *system
	lies  func(call, path string) bool
	found *findings
	// offered is what a process began to write under a key. must is what must be there after a power cut: these
	// bytes, or any offered bytes for "". deleted counts how often a process began to delete a key; deleting holds
	// the keys whose delete runs.
	offered           map[string][]string
	must              map[string]string
	deleted, deleting map[string]int
}

// findings are the results of many worlds together.
type findings struct {
	worlds, cuts int
	seen         map[[16]byte]bool // disks with promises that were looked at, by a hash of 128 bits
	images       map[string]image  // what was left on one of them
	problems     []string
}

func newFindings() *findings {
	return &findings{seen: map[[16]byte]bool{}, images: map[string]image{}}
}

// maxImages bounds the images that are kept over all orders of all scripts.
const maxImages = 100_000

const rootInBase = "made/root/"

func newWorld(t *testing.T, base string, found *findings, sys func() *system, lies func(call, path string) bool) *world {
	found.worlds++
	return &world{
		t: t, disk: newDisk(base), root: filepath.Join(base, rootInBase), sys: sys, lies: lies, found: found,
		offered: map[string][]string{}, must: map[string]string{}, deleted: map[string]int{}, deleting: map[string]int{},
	}
}

// cut examines everything that a power cut could leave now.
func (w *world) cut() {
	if !w.disk.changed {
		return
	}
	w.disk.changed = false
	w.found.cuts++
	sum := sha256.Sum256([]byte(w.disk.uncertain() + fmt.Sprint(w.must, w.offered, w.deleted)))
	where := [16]byte(sum[:16])
	if w.found.seen[where] {
		return
	}
	w.found.seen[where] = true
	for _, left := range w.disk.images() {
		for _, problem := range w.judge(left) {
			w.found.problems = append(w.found.problems, fmt.Sprintf("%s\nleft %s", problem, left))
		}
		if len(w.found.images) < maxImages {
			w.found.images[left.String()] = left
		}
	}
}

// judge reports what is wrong in an image that a power cut left.
func (w *world) judge(left image) (problems []string) {
	for path, content := range left {
		key, ok := keyOf(path)
		if !ok {
			continue
		}
		if !slices.Contains(w.offered[key], content) {
			problems = append(problems, fmt.Sprintf("%s holds %q, which nobody wrote", key, content))
		}
		slot, err := strconv.Atoi(strings.TrimPrefix(key, "job/_journal/"))
		before := fmt.Sprintf("job/_journal/%d", slot-1)
		if _, there := left[rootInBase+before]; err == nil && slot > 1 && !there && w.deleted[before] == 0 {
			problems = append(problems, "the journal has "+key+" without the entry before it")
		}
	}
	for key, content := range w.must {
		if got, ok := left[rootInBase+key]; !ok || content != "" && got != content {
			problems = append(problems, fmt.Sprintf("%s is %q (there: %v), but was reported durable as %q", key, got, ok, content))
		}
	}
	return problems
}

// keyOf returns the key of a path; temporaries and folders have none.
func keyOf(path string) (string, bool) {
	key, ok := strings.CutPrefix(path, rootInBase)
	return key, ok && key != "" && !strings.HasSuffix(key, "/") && !strings.Contains("/"+key, "/_tmp/")
}

// A process is one store and the script that it runs.
type process struct {
	*world
	name           string
	script         func(p *process)
	store          storage.Store
	resume, paused chan struct{}
	started, over  bool
}

func (w *world) process(name string, script func(p *process)) *process {
	return &process{world: w, name: name, script: script, resume: make(chan struct{}), paused: make(chan struct{})}
}

// run lets the process make this number of calls (-1: all that are left), and reports whether there were as many.
func (p *process) run(calls int) bool {
	if !p.started {
		p.started = true
		go func() {
			<-p.resume
			p.script(p)
			p.over = true
			p.paused <- struct{}{}
		}()
		p.resume <- struct{}{}
		<-p.paused
	}
	for ; calls != 0 && !p.over; calls-- {
		p.resume <- struct{}{}
		<-p.paused
	}
	return calls <= 0
}

// system is the process's own, paused before each call and cut after it.
func (p *process) system() *system {
	sys := p.sys()
	p.disk.mirror(sys, p.lies)
	around(sys, func(_ string, do func() error) error {
		p.paused <- struct{}{}
		<-p.resume
		err := do()
		p.cut()
		return err
	})
	return sys
}

// opens opens the root, and makes it if needed.
func (p *process) opens() {
	opened, err := open(p.t.Context(), p.root, nil, p.system())
	if err != nil {
		p.t.Errorf("%s: %v", p.name, err)
		return
	}
	p.store = opened.Store
}

// opensProbed opens an existing, known root without any call, which keeps the number of orders small.
func (p *process) opensProbed() {
	sys := p.system()
	f, err := p.sys().openUnnamed(p.root)
	if err == nil {
		f.Close()
	}
	id, idErr := rootIdentity(p.root)
	if idErr != nil {
		p.t.Errorf("%s: %v", p.name, idErr)
	}
	p.store = &store{root: p.root, identity: id, sys: sys, dirs: newDirs(p.root, sys), unique: p.name, probed: true, named: err != nil}
}

// promised notes that key is durable from now on, unless a delete of the key has begun or runs since the given number
// of deletes.
func (p *process) promised(key, content string, deleted int) {
	if was, there := p.must[key]; p.deleted[key] == deleted && (!there || was == "" && content != "") {
		p.must[key] = content
		p.disk.changed = true
	}
	p.cut()
}

// ended notes the outcome of a creation.
func (p *process) ended(key, content string, deleted int, err error) bool {
	switch {
	case err == nil:
		p.promised(key, content, deleted)
		return true
	case errors.Is(err, storage.ErrExists):
		p.promised(key, "", deleted)
	case errors.Is(err, storage.ErrUnknown) && errors.Is(err, os.ErrNotExist) && p.deleted[key] > deleted:
		return true // another process deleted it, and its folder, before it was synced
	default:
		p.t.Errorf("%s: %v", p.name, err)
	}
	return false
}

func (p *process) publish(key string) bool {
	content := p.name + " in " + key
	p.offered[key] = append(p.offered[key], content)
	deleted := p.deleted[key] - p.deleting[key]
	return p.ended(key, content, deleted, p.store.Publish(p.t.Context(), key, []byte(content)))
}

func (p *process) create(key string) {
	content := p.name + " in " + key
	p.offered[key] = append(p.offered[key], content)
	deleted := p.deleted[key] - p.deleting[key]
	w, err := p.store.Create(p.t.Context(), key, storage.CreateOptions{IfAbsent: true})
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	if err == nil {
		err = w.Commit()
	}
	p.ended(key, content, deleted, err)
}

func (p *process) list(prefix string) (keys []string) {
	deleted := maps.Clone(p.deleted)
	for key, n := range p.deleting {
		deleted[key] -= n
	}
	for info, err := range p.store.List(p.t.Context(), prefix) {
		if err != nil {
			p.t.Errorf("%s: %v", p.name, err)
			break
		}
		p.promised(info.Key, "", deleted[info.Key])
		keys = append(keys, info.Key)
	}
	return keys
}

// append adds an entry to the journal.
func (p *process) append() {
	last := 0
	for _, key := range p.list("job/_journal/") {
		slot, _ := strconv.Atoi(strings.TrimPrefix(key, "job/_journal/"))
		last = max(last, slot)
	}
	for !p.publish(fmt.Sprintf("job/_journal/%d", last+1)) && !p.t.Failed() {
		last++
	}
}

func (p *process) delete(keys ...string) {
	for _, key := range keys {
		delete(p.must, key)
		p.deleted[key]++
		p.deleting[key]++
	}
	if errs := p.store.Delete(p.t.Context(), keys); errs != nil {
		p.t.Errorf("%s: %v", p.name, errs)
	}
	for _, key := range keys {
		p.deleting[key]--
	}
}

// scripts are what one process may do beside another, over an existing root.
var scripts = map[string]func(p *process){
	"append":        func(p *process) { p.append() },
	"append twice":  func(p *process) { p.append(); p.append() },
	"publish":       func(p *process) { p.publish("job/_journal/1") },
	"create":        func(p *process) { p.create("job/chk-1/_metadata") },
	"create beside": func(p *process) { p.create("job/chk-1/f-" + p.name) },
	"list":          func(p *process) { p.list("") },
	"empty a folder": func(p *process) {
		p.create("job/chk-1/g-" + p.name)
		p.delete("job/chk-1/g-" + p.name)
	},
	"empty the journal": func(p *process) { p.append(); p.delete(p.list("job/_journal/")...) },
	"list, later again": func(p *process) { p.publish("job/_journal/1"); p.list("job/_journal/") },
	"replace":           func(p *process) { p.delete("job/_journal/1"); p.publish("job/_journal/1") },
}

// An order says when two processes over one root run. The first makes its number of calls, then the second, then each
// finishes. So an operation that one has begun stays unfinished while the other works, as if its process had been
// killed.
type order struct {
	first, second   string
	before, between int
}

// run reports whether each process had as many calls.
func (o order) run(t *testing.T, base string, found *findings, sys func() *system, lies func(call, path string) bool) (more, enough bool) {
	dir := filepath.Join(base, strconv.Itoa(found.worlds))
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, dir, found, sys, lies)
	w.process("setup", (*process).opens).run(-1)
	first := w.process("first", func(p *process) { p.opensProbed(); scripts[o.first](p) })
	second := w.process("second", func(p *process) { p.opensProbed(); scripts[o.second](p) })
	more, enough = first.run(o.before), second.run(o.between)
	first.run(-1)
	second.run(-1)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if t.Failed() {
		t.Fatalf("failed in the order %+v", o)
	}
	return more, enough
}

// every runs all orders of these scripts.
func every(t *testing.T, base string, found *findings, sys func() *system, lies func(call, path string) bool, names ...string) {
	for _, first := range names {
		for _, second := range names {
			more, enough := true, true
			for before := 0; more; before++ {
				for between := 0; between == 0 || more && enough; between++ {
					more, enough = order{first, second, before, between}.run(t, base, found, sys, lies)
				}
			}
		}
	}
}

// some runs this number of orders of all scripts.
func some(t *testing.T, base string, found *findings, sys func() *system, orders int) {
	names := slices.Sorted(maps.Keys(scripts))
	random := rand.New(rand.NewPCG(1, 2))
	name := func() string { return names[random.IntN(len(names))] }
	for range orders {
		order{name(), name(), random.IntN(24), random.IntN(24)}.run(t, base, found, sys, truth)
	}
}

func truth(string, string) bool { return false }

// After every call of two processes the power may be cut. Everything that was reported durable, shown by List or
// named by ErrExists is there and whole, and the journal has no gaps. Then a new process continues with what is left.
//
// With CKPTD_NIGHTLY=1 the search covers every pair of scripts, in every order in which each process is interrupted
// at most once (see order). It cuts after every call, and examines everything that the model of the disk allows to be
// left. A disk with the same promises is examined once, whatever order led to it. Orders with more interruptions are
// not run.
//
// Without CKPTD_NIGHTLY all orders of the scripts named here are run, and some orders of the others, drawn with a
// fixed seed. The recovery is tried on at most 200 of the different images.
func TestPowerCuts(t *testing.T) {
	for _, c := range []struct {
		name  string
		sys   func() *system
		every []string // scripts of which all orders are run
		some  int      // orders of all scripts
	}{
		{"unnamed", realSystem, []string{"publish", "create beside"}, 400},
		{"named", withoutUnnamed, nil, 120},
		{"without birth", withoutBirth, []string{"publish"}, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			base, found := memoryDir(t), newFindings()
			switch {
			case os.Getenv("CKPTD_NIGHTLY") != "":
				c.every = slices.Sorted(maps.Keys(scripts))
			case os.Getenv("CKPTD_TEST_FULL") != "":
				c.some *= 2
			}
			every(t, base, found, c.sys, truth, c.every...)
			some(t, base, found, c.sys, c.some)
			report(t, found)
			recovers(t, found, c.sys)
		})
	}
}

// New roots, each opened (and made, and probed) by both processes.
func TestPowerCutsOfNewRoots(t *testing.T) {
	base, found := memoryDir(t), newFindings()
	random := rand.New(rand.NewPCG(1, 2))
	opens := func(p *process) {
		if p.opens(); p.store != nil {
			p.publish("_ckptd")
		}
	}
	for i := range 150 {
		dir := filepath.Join(base, strconv.Itoa(i))
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, dir, found, realSystem, truth)
		first, second := w.process("first", opens), w.process("second", opens)
		before, between := random.IntN(36), random.IntN(36)
		first.run(before)
		second.run(between)
		first.run(-1)
		second.run(-1)
		if t.Failed() {
			t.Fatalf("the first process was interrupted after %d calls, the second after %d", before, between)
		}
	}
	report(t, found)
}

// The search proves something only if it finds the faults of a driver. Here the driver leaves out single syncs.
func TestPowerCutsAreNoticed(t *testing.T) {
	for _, c := range []struct{ call, end, script, problem string }{
		{"sync", "", "publish", "which nobody wrote"},
		{"sync folder", "/_journal", "publish", "was reported durable"},
		{"sync folder", "/job", "publish", "was reported durable"},
		{"sync folder", "/root", "publish", "was reported durable"},
		{"sync folder", "/root", "list", "was reported durable"},
		{"sync folder", "/_journal", "append twice", "without the entry before it"},
	} {
		found := newFindings()
		lies := func(call, path string) bool { return call == c.call && strings.HasSuffix(path, c.end) }
		base := memoryDir(t)
		for before := range 20 {
			order{c.script, "publish", before, -1}.run(t, base, found, realSystem, lies)
		}
		if !slices.ContainsFunc(found.problems, func(problem string) bool { return strings.Contains(problem, c.problem) }) {
			t.Errorf("%s without %s of …%s: %d problems, want one with %q", c.script, c.call, c.end, len(found.problems), c.problem)
		}
	}
}

func report(t *testing.T, found *findings) {
	t.Helper()
	t.Logf("%d orders, %d cuts, %d different; %d different things left", found.worlds, found.cuts, len(found.seen), len(found.images))
	for i, problem := range found.problems {
		if i == 5 {
			t.Errorf("and %d more problems", len(found.problems)-i)
			return
		}
		t.Error(problem)
	}
}

// recovers opens the images that a power cut left; only some of them if there are many.
func recovers(t *testing.T, found *findings, sys func() *system) {
	const most = 200
	base := memoryDir(t)
	step := 1 + len(found.images)/most
	for i, name := range slices.Sorted(maps.Keys(found.images)) {
		if i%step != 0 {
			continue
		}
		left := found.images[name]
		var want []string
		for _, path := range slices.Sorted(maps.Keys(left)) {
			var err error
			if strings.HasSuffix(path, "/") {
				err = os.MkdirAll(filepath.Join(base, path), 0o777)
			} else {
				err = os.MkdirAll(filepath.Join(base, filepath.Dir(path)), 0o777)
				err = errors.Join(err, os.WriteFile(filepath.Join(base, path), []byte(left[path]), 0o666))
			}
			if err != nil {
				t.Fatal(err)
			}
			if key, ok := keyOf(path); ok {
				want = append(want, key)
			}
		}
		s := openAt(t, filepath.Join(base, rootInBase), unsynced(sys())).Store
		publish(t, s, "job/_journal/100")
		if got := listed(t, s, ""); !slices.Equal(got, slices.Sorted(slices.Values(append(want, "job/_journal/100")))) {
			t.Errorf("List shows %v, want the files of\n%s", got, name)
		}
		if _, err := s.AbortUnfinished(t.Context(), "", func(string) bool { return true }); err != nil {
			t.Error(err)
		}
		for _, path := range everything(t, base) {
			if strings.Contains(path, "~") {
				t.Errorf("%s stays, want it removed", path)
			}
		}
		if err := os.RemoveAll(filepath.Join(base, "made")); err != nil {
			t.Fatal(err)
		}
	}
}
