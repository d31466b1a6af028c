package owner

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"unsafe"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// leaves visits every field of v, with a function that changes the field and one that changes it back.
func leaves(v reflect.Value, path string, visit func(path string, change, restore func())) {
	v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	old := reflect.New(v.Type()).Elem()
	old.Set(v)
	set := func(to reflect.Value) { visit(path, func() { v.Set(to) }, func() { v.Set(old) }) }
	other := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Bool:
		other.SetBool(!v.Bool())
		set(other)
	case reflect.Int8, reflect.Int, reflect.Int64:
		other.SetInt(v.Int() + 1)
		set(other)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		other.SetUint(v.Uint() + 1)
		set(other)
	case reflect.String:
		other.SetString(v.String() + "\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00")
		set(other)
	case reflect.Pointer:
		if v.IsNil() {
			other.Set(reflect.New(v.Type().Elem()))
		}
		set(other)
	case reflect.Array:
		for i := range v.Len() {
			leaves(v.Index(i), fmt.Sprintf("%s[%d]", path, i), visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			leaves(v.Field(i), path+"."+v.Type().Field(i).Name, visit)
		}
	case reflect.Slice:
		set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		one := reflect.MakeSlice(v.Type(), 1, 1)
		v.Set(one) // the elements of a slice of one
		leaves(one.Index(0), path+"[]", visit)
		v.Set(old)
	default:
		panic(path + ": a kind of field that the key test does not know: " + v.Kind().String())
	}
}

// TestKeySeesEveryField changes each field and wants another key. If the key left out a field, the search would take
// different states for one, and would miss what follows from the other.
func TestKeySeesEveryField(t *testing.T) {
	entry := (&story{}).entry()
	m := &Machine{head: entry, wish: wish{plan: journal.NewPlan(nil)}}
	n := 0
	leaves(reflect.ValueOf(m).Elem(), "Machine", func(path string, change, restore func()) {
		before := m.appendKey(nil)
		change()
		if bytes.Equal(before, m.appendKey(nil)) {
			t.Errorf("%s: changed, and the key did not", path)
		}
		restore()
		n++
	})
	w := &world{past: []*journal.Entry{entry}, third: &third{}}
	sealed := func() []byte {
		for i := range w.d {
			if w.d[i] != nil {
				w.d[i] = w.d[i].sealed()
			}
		}
		return w.key(nil)
	}
	unseen := map[string]bool{"world.past": true, "world.past[]": true, "world.bad": true} // pastSum stands for past
	leaves(reflect.ValueOf(w).Elem(), "world", func(path string, change, restore func()) {
		if unseen[path] {
			return
		}
		before := sealed()
		change()
		if bytes.Equal(before, sealed()) {
			t.Errorf("%s: changed, and the key did not", path)
		}
		restore()
		n++
	})
	d := &daemon{}
	leaves(reflect.ValueOf(d).Elem(), "daemon", func(path string, change, restore func()) {
		before := d.sealed().sum
		change()
		if path != "daemon.sum" && before == d.sealed().sum {
			t.Errorf("%s: changed, and the sum did not", path)
		}
		restore()
		n++
	})
	if n < 200 {
		t.Errorf("only %d fields visited", n)
	}
}

// TestSealSeesEveryField changes each field of an entry and wants another sum: the key of an entry is the sum that seal
// computes.
func TestSealSeesEveryField(t *testing.T) {
	base := journal.Entry{Plan: journal.NewPlan(nil), Config: &journal.Config{}, About: &journal.About{}}
	sum := func(e journal.Entry) string {
		var a journal.Append
		return string(a.Begin(&journal.Settings{Ring: 2}, nil, e, journal.Nonce{}, journal.RoleOwner).Entry.AppendKey(nil))
	}
	made := map[string]bool{"Entry.Slot": true, "Entry.Nonce": true, "Entry.Ring": true, "Entry.LeastReader": true, "Entry.LeastWriter": true, "Entry.sum": true}
	seen := 0
	e := base
	for i := range reflect.TypeFor[journal.Entry]().NumField() {
		f := reflect.TypeFor[journal.Entry]().Field(i)
		if made["Entry."+f.Name] {
			continue
		}
		v := reflect.ValueOf(&e).Elem().Field(i)
		if f.Type.Kind() == reflect.Pointer { // what it points to is immutable, but counts
			if f.Type == reflect.TypeFor[*journal.Plan]() {
				continue
			}
			v = v.Elem()
		}
		leaves(v, f.Name, func(path string, change, restore func()) {
			if path == "Requests[]" {
				return
			}
			before := sum(e)
			change()
			if sum(e) == before {
				t.Errorf("%s: changed, and the sum did not", path)
			}
			restore()
			seen++
		})
	}
	if seen < 50 {
		t.Errorf("only %d fields visited", seen)
	}
	if a, b := base, base; sum(a) == sum(func() journal.Entry { b.Plan = journal.NewPlan([]journal.Operator{{ID: "x"}}); return b }()) {
		t.Error("Plan: changed, and the sum did not")
	}
}

// TestStepsArePure: a step of a copy leaves the original unchanged, and the same step of the original gives the same
// result.
func TestStepsArePure(t *testing.T) {
	for _, s := range small {
		s.prepare()
		r := &runner{s: &s}
		steps := 0
		for walk := range uint64(40) {
			rng := rand.New(rand.NewPCG(1, walk))
			w := s.start()
			for {
				before := bytes.Clone(w.key(nil))
				machines := machineKeys(w)
				var next []*world
				r.expand(w, func(n *world, _ move) {
					kept := *n
					next = append(next, &kept)
				})
				if !bytes.Equal(before, w.key(nil)) || !reflect.DeepEqual(machines, machineKeys(w)) {
					t.Fatalf("%s: a step changed the world it began in", s.name)
				}
				if len(next) == 0 {
					break
				}
				again := 0
				pick := rng.IntN(len(next))
				r.expand(w, func(n *world, _ move) {
					if again == pick && !bytes.Equal(n.key(nil), next[pick].key(nil)) {
						t.Fatalf("%s: the same step gave something else", s.name)
					}
					again++
				})
				w = next[pick]
				steps++
			}
		}
		if steps < 400 {
			t.Errorf("%s: only %d steps", s.name, steps)
		}
	}
}

func machineKeys(w *world) (keys [][]byte) {
	for _, d := range w.d {
		if d != nil {
			keys = append(keys, d.m.appendKey(nil))
		}
	}
	return keys
}

// TestReductions switches each reduction off, alone and all together. The smallest stories stay clean, and the teeth
// bite.
func TestReductions(t *testing.T) {
	all := reductions{split: true, trims: true, uploads: true, deletes: true}
	for _, full := range []reductions{{}, {split: true}, {trims: true}, {uploads: true}, {deletes: true}, all} {
		clean := &story{daemons: 1, attaches: 2, triggers: 1, aborts: 1, files: 1, crashes: 1, lost: 1, faults: 1, sweeps: 1, begun: true, full: full}
		if r := search(clean, limits{}); r.bad != "" || !r.whole {
			t.Errorf("%+v: %v", full, r)
		} else {
			t.Logf("%+v: %v", full, r)
		}
		bitten := &story{daemons: 1, attaches: 1, triggers: 2, files: 1, begun: true, full: full, off: off{promises: true}}
		if r := search(bitten, limits{}); r.bad == "" {
			t.Errorf("%+v: without promises nothing was found", full)
		}
	}
}

// TestSetsOfTheModel: bits and sets are each other's inverse.
func TestSetsOfTheModel(t *testing.T) {
	for _, v := range []uint64{0, 1, 1 << 63, 0xdeadbeef} {
		if bitsOf(setOf(v)) != v {
			t.Errorf("%x", v)
		}
	}
	if setOf(6) != incremental.FilesOf(1, 2) {
		t.Error("6")
	}
}
