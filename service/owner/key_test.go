package owner

import (
	"encoding/binary"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout/journal"
)

// appendKey appends every field of the machine: two machines with equal keys react alike to every event.
// TestKeySeesEveryField changes each field in turn and wants another key.
func (m *Machine) appendKey(b []byte) []byte {
	b = append(b, byte(m.phase), byte(m.doing), byte(m.attempt), bits(m.stop, m.silent, m.suspends),
		bits(m.trigger.wanted, m.sweep.terminal, m.sweep.done, m.recheckHead), bits(m.deletesFail), byte(m.trigger.kind), byte(m.sweep.stage))
	b = uints(b, uint64(m.life), uint64(m.count), m.doingID, m.first, m.next, m.missingMeta, m.trigger.caller, m.sweep.caller)
	b = m.reader.AppendKey(b)
	b = m.app.AppendKey(b)
	b = m.head.AppendKey(b)
	b = nonce(b, m.me)
	b = sets(sets(b, m.finished), m.index.Known, m.index.AtAttach, m.index.Reachable, m.index.Condemned, m.deleting)
	b = uints(b, uint64(len(m.held)))
	for _, h := range m.held {
		b = sets(uints(append(b, byte(h.state)), h.id), h.files)
	}
	b = uints(b, uint64(len(m.workers)))
	for _, w := range m.workers {
		b = sets(uints(append(b, bits(w.Gone)), uint64(w.Worker), w.Attempt), w.Subtasks, w.Running)
	}
	b = uints(b, uint64(len(m.pending)))
	for _, p := range m.pending {
		b = sets(sets(uints(append(b, byte(p.State), byte(p.Kind)), p.ID), p.Acked), p.Named)
		b = savepoint(checkpoint(b, p.Meta), p.Saved)
	}
	b = uints(b, uint64(len(m.promises)))
	for _, p := range m.promises {
		b = sets(uints(b, p.id), p.files)
	}
	b = list(list(list(list(b, m.unansweredMetas), m.metas), m.deletingMetas), m.left)
	b = uints(b, uint64(len(m.attaching)))
	for _, a := range m.attaching {
		b = a.key(b)
	}
	b = m.ending.key(uints(append(b, bits(m.editing, m.timing)), m.clock, uint64(len(m.edits))))
	for _, e := range m.edits {
		b = e.key(b)
	}
	b = uints(append(list(list(list(list(b, m.unansweredSaves), m.uncleaned), m.relists), m.goneSaves), byte(m.cleaning.stage)), m.cleaning.id, m.cleaning.size, uint64(m.cleaning.crc),
		uint64(len(m.saving)))
	for _, w := range m.saving {
		b = savepoint(uints(b, w.caller), journal.Savepoint{ID: w.id, Path: w.path, Stop: w.stop, Nonce: w.nonce, Request: w.request, Periodic: w.periodic})
	}
	return m.abroadKey(m.wish.key(b))
}

// abroadKey appends what the machine does about other jobs.
func (m *Machine) abroadKey(b []byte) []byte {
	b = append(b, byte(m.imp.stage), bits(m.imp.wants != nil, m.stuck, m.tidying), byte(m.errand.kind))
	b = sets(checkpoint(uints(b, m.imp.id), m.imp.meta), m.imp.copied)
	for _, pins := range [3][]journal.Borrowed{m.imp.wants, m.imp.lender, m.pins} {
		b = uints(b, uint64(len(pins)))
		for _, p := range pins {
			b = nonce(uints(append(b, byte(p.Mode)), p.Checkpoint, uint64(len(p.Job))), p.Pin)
			b = append(b, p.Job...)
		}
	}
	b = uints(append(b, byte(m.errand.mode), bits(m.errand.dispose)), uint64(len(m.foreign)))
	for _, f := range m.foreign {
		b = sets(append(uints(b, uint64(len(f.Job))), f.Job...), f.Files)
	}
	for _, pins := range [3][]journal.Nonce{m.returned, m.looks, m.leaked} {
		b = uints(b, uint64(len(pins)))
		for _, p := range pins {
			b = nonce(b, p)
		}
	}
	b = append(uints(b, m.errand.checkpoint, m.errand.epoch, uint64(len(m.errand.job))), m.errand.job...)
	return m.errand.app.AppendKey(m.errand.reader.AppendKey(nonce(nonce(b, m.errand.nonce), m.errand.pin)))
}

func (e ending) key(b []byte) []byte {
	b = uints(append(b, byte(e.status)), e.caller, e.ended.At, uint64(len(e.ended.Why)))
	b = append(b, e.ended.Why...)
	return append(b, e.request[:]...)
}

func (e edit) key(b []byte) []byte {
	b = list(append(b, byte(e.Kind), bits(e.Now, e.Lent)), e.IDs)
	for _, t := range e.Tags {
		b = append(uints(b, uint64(len(t))), t...)
	}
	return append(uints(b, e.caller, uint64(len(e.Tags))), e.request[:]...)
}

func (w wish) key(b []byte) []byte {
	b = uints(b, w.caller)
	return change(append(b, w.request[:]...), w.plan, w.config)
}

func (a attacher) key(b []byte) []byte {
	return change(uints(append(b, bits(a.finish, a.create != nil, a.due, a.janitor, a.takeOver)), a.caller), a.plan, a.config)
}

// change appends a wanted plan and configuration.
func change(b []byte, plan *journal.Plan, config *journal.Config) []byte {
	if b = append(b, bits(plan != nil, config != nil)); plan != nil {
		b = uints(b, plan.Hash())
	}
	if config != nil {
		b = uints(b, config.Hash)
	}
	return b
}

func checkpoint(b []byte, c journal.Checkpoint) []byte {
	b = append(b, byte(c.Type), byte(c.State), bits(c.Imported, c.Keep))
	b = uints(b, c.ID, c.Size, uint64(c.CRC), c.TrashUntil, c.CompletedAt, c.DurationMillis, c.StateBytes, c.NewBytes, c.TrashedAt, uint64(len(c.Tags)))
	for _, t := range c.Tags {
		b = append(uints(b, uint64(len(t))), t...)
	}
	return nonce(b, c.Nonce)
}

func savepoint(b []byte, p journal.Savepoint) []byte {
	b = uints(append(b, byte(p.Outcome), byte(p.Stop), bits(p.Periodic)), p.ID, p.Size, uint64(p.CRC), p.EndedAt, uint64(len(p.Path)))
	return nonce(append(append(b, p.Path...), p.Request[:]...), p.Nonce)
}

func nonce(b []byte, n journal.Nonce) []byte {
	return uints(append(b, n.Process[:]...), uint64(n.Count))
}

func uints(b []byte, vs ...uint64) []byte {
	for _, v := range vs {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func sets[T ~uint32](b []byte, ss ...incremental.Set[T]) []byte {
	for _, s := range ss {
		b = s.AppendKey(b)
	}
	return b
}

func list(b []byte, ids []uint64) []byte { return uints(uints(b, uint64(len(ids))), ids...) }

func bits(flags ...bool) (b byte) {
	for i, f := range flags {
		if f {
			b |= 1 << i
		}
	}
	return b
}
