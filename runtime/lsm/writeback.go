package lsm

// writeBack is the cache in front of the tree: entries that were read or written recently, in two generations. A new
// or used entry is in the young generation. When that holds half of the limit, the old generation is dropped and the
// young one becomes old.
//
// So an entry stays while it is used about once in a generation. The tree sees one write per entry and generation,
// however often the entry changes.
type writeBack struct {
	limit      int
	young, old map[string]*entry
	// size of the young generation.
	size int
	// dirty entries are newer than the tree; each is listed once. They are in either generation.
	dirty []*entry
}

type entry struct {
	// key in the tree: key group, key.
	key   string
	value []byte
	dirty bool
}

// overhead is the memory of an entry beside its bytes: headers, and its share of a map.
const overhead = 112

func newWriteBack(limit int) *writeBack {
	return &writeBack{limit: limit, young: map[string]*entry{}, old: map[string]*entry{}}
}

// find returns an entry, or nil.
func (w *writeBack) find(key []byte) *entry {
	if e, ok := w.young[string(key)]; ok {
		return e
	}
	e, ok := w.old[string(key)]
	if !ok {
		return nil
	}
	delete(w.old, e.key)
	w.insert(e)
	return e
}

// add adds an entry that find did not return.
func (w *writeBack) add(key, value []byte) *entry {
	// The capacity has room for a few more bytes, because a running count grows.
	e := &entry{key: string(key), value: append(make([]byte, 0, len(value)+4), value...)}
	w.insert(e)
	return e
}

func (w *writeBack) insert(e *entry) {
	w.young[e.key] = e
	w.size += len(e.key) + cap(e.value) + overhead
}

// set changes an entry's value.
func (w *writeBack) set(e *entry, value []byte) {
	before := cap(e.value)
	e.value = append(e.value[:0], value...)
	w.size += cap(e.value) - before
	if !e.dirty {
		e.dirty = true
		w.dirty = append(w.dirty, e)
	}
}

// full reports that it is time to rotate.
func (w *writeBack) full() bool { return w.size >= w.limit/2 }

// rotate drops the old generation. No entry may be dirty.
func (w *writeBack) rotate() {
	clear(w.old)
	w.old, w.young, w.size = w.young, w.old, 0
}

// clean passes every dirty entry to write, and marks all as clean if no call failed.
func (w *writeBack) clean(write func(*entry) error) error {
	for _, e := range w.dirty {
		if err := write(e); err != nil {
			return err
		}
	}
	for i, e := range w.dirty {
		e.dirty = false
		w.dirty[i] = nil
	}
	w.dirty = w.dirty[:0]
	return nil
}
