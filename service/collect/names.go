package collect

import "hash/maphash"

// names is a set of names, in 16 bytes a name and less: it keeps a hash of each, with a seed of its own. Two names have the
// same hash once in many billion sets; then a file that could go stays in the plan's view.
type names struct {
	seed  maphash.Seed
	slots []uint64 // a power of two of them, at most half full; 0: free
	used  int
}

func newNames() *names { return &names{seed: maphash.MakeSeed(), slots: make([]uint64, 64)} }

func (n *names) add(name string) {
	if 2*(n.used+1) > len(n.slots) {
		old := n.slots
		n.slots, n.used = make([]uint64, 2*len(old)), 0
		for _, h := range old {
			if h != 0 {
				n.put(h)
			}
		}
	}
	n.put(n.hash(name))
}

func (n *names) put(h uint64) {
	i := n.find(h)
	if n.slots[i] == 0 {
		n.slots[i] = h
		n.used++
	}
}

func (n *names) has(name string) bool {
	h := n.hash(name)
	return n.slots[n.find(h)] == h
}

// find is the slot that holds a hash, or the free one where it belongs.
func (n *names) find(h uint64) int {
	mask := len(n.slots) - 1
	i := int(h) & mask
	for n.slots[i] != 0 && n.slots[i] != h {
		i = (i + 1) & mask
	}
	return i
}

func (n *names) hash(name string) uint64 { return maphash.String(n.seed, name) | 1<<63 }
