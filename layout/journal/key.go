package journal

import "encoding/binary"

// AppendKey appends all that the machine is: two with equal keys behave alike. Entries count by their contents.
func (r *ReadHead) AppendKey(b []byte) []byte {
	b = append(b, byte(r.state), byte(r.got))
	b = binary.AppendUvarint(b, r.slot)
	b = binary.AppendUvarint(b, r.atLeast)
	b = r.entry.AppendKey(b)
	b = binary.AppendUvarint(b, uint64(len(r.shown)))
	for _, s := range r.shown {
		b = binary.AppendUvarint(b, s)
	}
	return b
}

// AppendKey appends all that the machine is: two with equal keys behave alike. Entries count by their contents.
func (a *Append) AppendKey(b []byte) []byte {
	b = append(b, byte(a.state), byte(a.role), bit(a.created), bit(a.unknown))
	b = a.next.AppendKey(b)
	return a.read.AppendKey(b)
}

// AppendKey appends a hash of the entry's contents, made once; nil has one of its own.
func (e *Entry) AppendKey(b []byte) []byte {
	if e == nil {
		return append(b, 0)
	}
	return binary.LittleEndian.AppendUint64(append(b, 1), e.sum)
}

// seal makes the sum; from here on the entry is immutable.
func (e *Entry) seal() {
	h := fnv(offset64)
	h.uint(e.Slot, e.Epoch, uint64(e.Kind), uint64(e.LeastReader), uint64(e.LeastWriter), e.Attempt, e.Restore, uint64(e.Status), e.Reserved)
	h.nonces(e.Nonce, e.Owner)
	h.uint(uint64(len(e.Ring)))
	h.nonces(e.Ring...)
	h.uint(uint64(len(e.URLs)))
	h.text(e.URLs...)
	if e.Plan != nil {
		h.uint(e.Plan.hash)
	}
	if c := e.Config; c != nil {
		h.uint(c.Hash)
		h.text(string(c.Bytes))
	}
	if a := e.About; a != nil {
		h.text(a.Job)
		h.uint(uint64(len(a.Labels)))
		for _, l := range a.Labels {
			h.text(l.Key, l.Value)
		}
	}
	h.uint(uint64(len(e.Retained)))
	for i := range e.Retained {
		h.checkpoint(&e.Retained[i])
	}
	h.uint(uint64(len(e.Lent)))
	for _, l := range e.Lent {
		h.nonces(l.Pin)
		h.uint(l.Checkpoint, l.HolderEpoch, uint64(l.Mode), l.Expires)
		h.text(l.Holder)
	}
	h.uint(uint64(len(e.Borrowed)))
	for _, l := range e.Borrowed {
		h.nonces(l.Pin)
		h.uint(l.Checkpoint, uint64(l.Mode))
		h.text(l.Job)
	}
	h.uint(uint64(len(e.Savepoints)))
	for i := range e.Savepoints {
		h.savepoint(&e.Savepoints[i])
	}
	h.uint(uint64(len(e.Requests)))
	h.requests(e.Requests...)
	h.nonces(e.Import.Nonce)
	h.text(e.Import.Request, e.Import.Source, e.Import.Job, e.CopiedFrom.RootID, e.CopiedFrom.Job, e.Ended.Why)
	h.uint(uint64(e.Import.State), uint64(e.Import.Mode), e.Import.Checkpoint, uint64(bit(e.PurgeWanted)), e.Ended.At,
		e.ReleasedAt, uint64(bit(e.Settled)), uint64(bit(e.Suspended)), uint64(bit(e.CopiedFrom.Unfinished)))
	e.sum = uint64(h)
}

func (h *fnv) checkpoint(c *Checkpoint) {
	h.uint(c.ID, uint64(c.Type), uint64(c.State), c.Size, uint64(c.CRC), uint64(bit(c.Imported)), uint64(bit(c.Keep)), c.TrashedAt, c.TrashUntil,
		c.CompletedAt, c.DurationMillis, c.StateBytes, c.NewBytes, uint64(len(c.Tags)))
	h.nonces(c.Nonce)
	h.text(c.Tags...)
}

func (h *fnv) savepoint(s *Savepoint) {
	h.uint(s.ID, uint64(s.Outcome), uint64(s.Stop), s.Size, uint64(s.CRC), s.EndedAt, uint64(bit(s.Periodic)))
	h.nonces(s.Nonce)
	h.text(s.Path)
	h.requests(s.Request)
}

func (h *fnv) requests(requests ...Request) {
	for _, r := range requests {
		h.uint(binary.LittleEndian.Uint64(r[:]), binary.LittleEndian.Uint64(r[8:]))
	}
}

// fnv is FNV-1a, word by word with a final mix of each word, so that small numbers spread.
type fnv uint64

const (
	offset64 = 14695981039346656037
	prime64  = 1099511628211
)

func (h *fnv) uint(words ...uint64) {
	x := uint64(*h)
	for _, w := range words {
		x = (x ^ w) * prime64
		x ^= x >> 29
	}
	*h = fnv(x)
}

func (h *fnv) nonces(nonces ...Nonce) {
	for _, n := range nonces {
		h.uint(binary.LittleEndian.Uint64(n.Process[:]), uint64(binary.LittleEndian.Uint32(n.Process[8:]))|uint64(n.Count)<<32)
	}
}

func (h *fnv) text(texts ...string) {
	for _, t := range texts {
		h.uint(uint64(len(t)))
		for i := range len(t) {
			h.uint(uint64(t[i]))
		}
	}
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}
