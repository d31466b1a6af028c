package lsm

// writeBack is what lies before the tree: entries read or written of late, in two generations. A new or touched entry is in the
// young one; when that holds half of the limit, the old one goes and the young one becomes old. So an entry stays while it is
// used about once a generation, and the tree sees one write per entry and generation, however often it changes.
type writeBack struct {
	limit      int
	young, old map[string]*entry
	// size of the young generation.
	size int
	// dirty entries are newer than the tree; each is listed once. They lie in either generation.
	dirty []*entry
}

type entry struct {
	// key in the tree: key group, key.
	key   string
	value []byte
	dirty bool
}

// overhead of an entry beside its bytes: headers, its share of a map.
const overhead = 112

func newWriteBack(limit int) *writeBack {
	return &writeBack{limit: limit, young: map[string]*entry{}, old: map[string]*entry{}}
}

// find answers an entry, or nil.
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

// add makes an entry that find did not know.
func (w *writeBack) add(key, value []byte) *entry {
	e := &entry{key: string(key), value: append(make([]byte, 0, len(value)+4), value...)} // a running count grows
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

// full says that it is time for turn.
func (w *writeBack) full() bool { return w.size >= w.limit/2 }

// turn drops the old generation. No entry may be dirty.
func (w *writeBack) turn() {
	clear(w.old)
	w.old, w.young, w.size = w.young, w.old, 0
}

// clean hands every dirty entry to write, and forgets that they are dirty if all was well.
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
