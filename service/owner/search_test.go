package owner

import (
	"fmt"
	"hash/maphash"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// result is the result of a search.
type result struct {
	states int
	// depth is the last level that was expanded whole.
	depth int
	// whole is true if every state that the story can reach was visited.
	whole bool
	bad   string
	trace []string
	took  time.Duration
	heap  uint64
}

func (r result) String() string {
	s := fmt.Sprintf("%d states, depth %d, %.1f s, %d MB", r.states, r.depth, r.took.Seconds(), r.heap>>20)
	if !r.whole {
		s += ", not exhausted"
	}
	if r.bad != "" {
		s += "\n" + r.bad + "\n" + strings.Join(r.trace, "\n")
	}
	return s
}

// limits of a search; 0: none.
type limits struct {
	states int
	time   time.Duration
	heap   uint64
}

// watch stops a search that is over its limits, also in the middle of a level.
func (lim limits) watch(stop *atomic.Bool, heap *uint64) (end func()) {
	if lim.time == 0 && lim.heap == 0 {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	began := time.Now()
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(200 * time.Millisecond):
			}
			var mem runtime.MemStats
			runtime.ReadMemStats(&mem)
			if lim.heap != 0 && mem.HeapAlloc > lim.heap { // a part of it may be garbage
				runtime.GC()
				runtime.ReadMemStats(&mem)
			}
			*heap = max(*heap, mem.HeapAlloc)
			if lim.time != 0 && time.Since(began) > lim.time || lim.heap != 0 && mem.HeapAlloc > lim.heap*9/10 {
				stop.Store(true)
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

const shards = 256

// table is a set of 64-bit hashes, in shards of open addressing.
type table [shards]struct {
	sync.Mutex
	slots []uint64
	n     int
}

// add tells whether the hash is new.
func (t *table) add(h uint64) bool {
	s := &t[h%shards]
	h |= 1 << 63 // never 0
	s.Lock()
	defer s.Unlock()
	if 4*s.n >= 3*len(s.slots) {
		old := s.slots
		s.slots = make([]uint64, max(64, 2*len(old)))
		for _, o := range old {
			if o != 0 {
				s.slots[probe(s.slots, o)] = o
			}
		}
	}
	i := probe(s.slots, h)
	if s.slots[i] == h {
		return false
	}
	s.slots[i] = h
	s.n++
	return true
}

// has tells whether the hash was added.
func (t *table) has(h uint64) bool {
	s := &t[h%shards]
	h |= 1 << 63
	s.Lock()
	defer s.Unlock()
	return len(s.slots) > 0 && s.slots[probe(s.slots, h)] == h
}

func probe(slots []uint64, h uint64) int {
	mask := uint64(len(slots) - 1)
	for i := h / shards & mask; ; i = (i + 1) & mask {
		if slots[i] == 0 || slots[i] == h {
			return int(i)
		}
	}
}

// step leads back from a state: its parent in the level before, and its number among the parent's successors.
type back struct {
	parent uint32
	move   uint16
}

// search walks a story breadth first over hashed worlds. It stops when it finds a violation, has seen all worlds, or
// reaches a limit.
func search(s *story, lim limits) result {
	s.prepare()
	return searchAll(space[world]{
		start: s.start,
		walker: func() (func(*world, func(*world, move)), func(*world)) {
			r, ahead := &runner{s: s}, &runner{s: s}
			return r.expand, func(w *world) {
				if s.progress && w.bad == "" {
					w.bad = ahead.progress(w)
				}
			}
		},
		check: s.check,
		key:   (*world).key,
		bad:   func(w *world) string { return w.bad },
	}, lim)
}

// space is what a search walks: worlds of one kind, and how one leads to the next.
type space[W any] struct {
	start func() *W
	// walker makes what one goroutine needs: expand visits every world that one step leads to, and last looks at each new
	// world.
	walker func() (expand func(*W, func(*W, move)), last func(*W))
	check  func(*W)
	key    func(*W, []byte) []byte
	bad    func(*W) string
}

// searchAll is search of any space.
func searchAll[W any](s space[W], lim limits) result {
	began := time.Now()
	seen := new(table)
	start := s.start()
	seen.add(maphash.Bytes(seed, s.key(start, nil)))
	levels := [][]back{{{}}}
	frontier := []*W{start}
	res := result{states: 1}
	var stop atomic.Bool
	end := lim.watch(&stop, &res.heap)
	for len(frontier) > 0 {
		next, steps, bad := s.level(seen, frontier, &stop)
		levels = append(levels, steps)
		res.states += len(next)
		if bad >= 0 {
			res.bad, res.trace = s.bad(next[bad]), s.replay(levels, bad)
			break
		}
		if stop.Load() || lim.states != 0 && res.states > lim.states {
			break
		}
		res.depth++
		frontier = next
		res.whole = len(frontier) == 0
	}
	end()
	res.took = time.Since(began)
	return res
}

// level expands a frontier. bad is the index of a bad world in next, or -1.
func (s *space[W]) level(seen *table, frontier []*W, stop *atomic.Bool) (next []*W, steps []back, bad int) {
	const chunk = 256
	type part struct {
		worlds []*W
		steps  []back
	}
	parts := make([]part, (len(frontier)+chunk-1)/chunk)
	work := make(chan int, len(parts))
	for i := range parts {
		work <- i
	}
	close(work)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(parts)) {
		wg.Go(func() {
			expand, last := s.walker()
			var buf []byte
			for i := range work {
				if stop.Load() {
					return
				}
				p := &parts[i]
				for k := i * chunk; k < min(len(frontier), (i+1)*chunk); k++ {
					n := uint16(0)
					expand(frontier[k], func(w *W, _ move) {
						if s.bad(w) == "" {
							s.check(w)
						}
						buf = s.key(w, buf[:0])
						if s.bad(w) != "" || seen.add(maphash.Bytes(seed, buf)) {
							kept := *w
							last(&kept)
							p.worlds = append(p.worlds, &kept)
							p.steps = append(p.steps, back{uint32(k), n})
						}
						n++
					})
					frontier[k] = nil
				}
			}
		})
	}
	wg.Wait()
	for i := range parts {
		next = append(next, parts[i].worlds...)
		steps = append(steps, parts[i].steps...)
		parts[i] = part{}
	}
	return next, steps, slices.IndexFunc(next, func(w *W) bool { return s.bad(w) != "" })
}

// replay walks to a bad world again and describes each step.
func (s *space[W]) replay(levels [][]back, bad int) (trace []string) {
	path := make([]uint16, len(levels))
	for i := len(levels) - 1; i > 0; i-- {
		path[i] = levels[i][bad].move
		bad = int(levels[i][bad].parent)
	}
	w := s.start()
	expand, _ := s.walker()
	for i, step := range path[1:] {
		n := uint16(0)
		var then *W
		expand(w, func(x *W, m move) {
			if n == step {
				kept := *x
				then = &kept
				trace = append(trace, fmt.Sprintf("%3d %v", i+1, m))
			}
			n++
		})
		if w = then; s.bad(w) == "" {
			s.check(w) // check also notes which files are dead
		}
	}
	return trace
}
