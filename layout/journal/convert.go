package journal

import (
	"fmt"
	"maps"
	"slices"

	storedv1 "github.com/ckptd/ckptd/proto/ckptd/stored/v1"
)

// metadataKey is where every checkpoint of this format has its _metadata.
func metadataKey(id uint64) string { return fmt.Sprintf("chk-%d/_metadata", id) }

func toProto(e *Entry) *storedv1.JournalEntry {
	m := &storedv1.JournalEntry{
		Slot: e.Slot, Kind: storedv1.JournalEntry_Kind(e.Kind), Nonce: e.Nonce.String(), Epoch: e.Epoch, Owner: e.Owner.String(),
		OwnerUrls: e.URLs, Attempt: e.Attempt, RestoreCheckpointId: e.Restore, Status: storedv1.JournalEntry_Status(e.Status),
		Reserved: e.Reserved, JobId: e.About.Job, PurgeWanted: e.PurgeWanted, ReleasedAtMillis: e.ReleasedAt, Settled: e.Settled, Suspended: e.Suspended,
		Config: &storedv1.JournalConfig{Message: e.Config.Bytes, Hash: e.Config.Hash},
	}
	for _, n := range e.Ring {
		m.Ring = append(m.Ring, n.String())
	}
	for _, o := range e.Plan.Operators {
		m.Plan = append(m.Plan, &storedv1.JournalOperator{
			Id: o.ID, Uid: o.UID, Parallelism: o.Parallelism, MaxParallelism: o.MaxParallelism, Triggered: o.Triggered})
	}
	if len(e.About.Labels) > 0 {
		m.Labels = make(map[string]string, len(e.About.Labels))
		for _, l := range e.About.Labels {
			m.Labels[l.Key] = l.Value
		}
	}
	for i := range e.Retained {
		m.Retained = append(m.Retained, checkpointToProto(&e.Retained[i]))
	}
	for _, l := range e.Lent {
		m.Lent = append(m.Lent, &storedv1.JournalLent{Pin: l.Pin.String(), CheckpointId: l.Checkpoint, Holder: l.Holder,
			HolderEpoch: l.HolderEpoch, Mode: storedv1.JournalMode(l.Mode + 1), ExpiresAtMillis: l.Expires})
	}
	for _, l := range e.Borrowed {
		m.Borrowed = append(m.Borrowed, &storedv1.JournalBorrowed{Pin: l.Pin.String(), JobId: l.Job, CheckpointId: l.Checkpoint,
			Mode: storedv1.JournalMode(l.Mode + 1)})
	}
	for i := range e.Savepoints {
		m.Savepoints = append(m.Savepoints, savepointToProto(&e.Savepoints[i]))
	}
	for _, r := range e.Requests {
		m.Requests = append(m.Requests, r[:])
	}
	if i := e.Import; i != (Import{}) {
		m.Import = &storedv1.JournalImport{State: storedv1.JournalImport_State(i.State), Request: i.Request, Source: i.Source,
			Nonce: i.Nonce.String(), Mode: storedv1.JournalMode(i.Mode + 1), JobId: i.Job, CheckpointId: i.Checkpoint}
	}
	if o := e.CopiedFrom; o != (Origin{}) {
		m.CopiedFrom = &storedv1.JournalOrigin{RootId: o.RootID, JobId: o.Job, Unfinished: o.Unfinished}
	}
	if e.Ended != (Ended{}) {
		m.Ended = &storedv1.JournalEnd{AtMillis: e.Ended.At, Why: e.Ended.Why}
	}
	return m
}

func checkpointToProto(c *Checkpoint) *storedv1.JournalCheckpoint {
	return &storedv1.JournalCheckpoint{
		CheckpointId: c.ID, Type: storedv1.JournalCheckpoint_Type(c.Type + 1), State: storedv1.JournalCheckpoint_State(c.State + 1),
		MetadataKey: metadataKey(c.ID), MetadataNonce: c.Nonce.String(), MetadataSize: c.Size, MetadataCrc32C: c.CRC,
		Imported: c.Imported, Keep: c.Keep, Tags: c.Tags, TrashedAtMillis: c.TrashedAt, TrashUntilMillis: c.TrashUntil,
		CompletedAtMillis: c.CompletedAt, DurationMillis: c.DurationMillis, StateBytes: c.StateBytes, NewBytes: c.NewBytes,
	}
}

func savepointToProto(s *Savepoint) *storedv1.JournalSavepoint {
	m := &storedv1.JournalSavepoint{
		Id: s.ID, Path: s.Path, Outcome: storedv1.JournalSavepoint_Outcome(s.Outcome + 1), Stop: storedv1.JournalSavepoint_Stop(s.Stop + 1),
		MetadataNonce: s.Nonce.String(), MetadataSize: s.Size, MetadataCrc32C: s.CRC, EndedAtMillis: s.EndedAt, Periodic: s.Periodic,
	}
	if s.Request != (Request{}) {
		m.Request = s.Request[:]
	}
	return m
}

// fromProto converts a decoded message. Its error has ErrNewer in the chain if a field that decides something has an
// unknown value; else ErrCorrupt.
func fromProto(m *storedv1.JournalEntry) (*Entry, error) {
	p := &parser{}
	e := &Entry{
		Slot: m.Slot, Kind: Kind(m.Kind), Nonce: p.nonce(m.Nonce), Epoch: m.Epoch, Owner: p.nonce(m.Owner), URLs: m.OwnerUrls,
		Attempt: m.Attempt, Restore: m.RestoreCheckpointId, Reserved: m.Reserved, PurgeWanted: m.PurgeWanted, ReleasedAt: m.ReleasedAtMillis, Settled: m.Settled, Suspended: m.Suspended,
		Status: Status(p.known("status", int32(m.Status), int32(StatusRemoved))),
		About:  &About{Job: m.JobId},
		Config: &Config{Bytes: m.Config.GetMessage(), Hash: m.Config.GetHash()},
		Ended:  Ended{At: m.Ended.GetAtMillis(), Why: m.Ended.GetWhy()},
	}
	if m.Kind < 0 { // an unknown kind is kept, but no version writes a negative one
		p.corrupt(fmt.Errorf("kind %d", m.Kind))
	}
	for _, n := range m.Ring {
		e.Ring = append(e.Ring, p.nonce(n))
	}
	operators := make([]Operator, 0, len(m.Plan))
	for _, o := range m.Plan {
		operators = append(operators, Operator{ID: o.Id, UID: o.Uid, Parallelism: o.Parallelism, MaxParallelism: o.MaxParallelism, Triggered: o.Triggered})
	}
	e.Plan = NewPlan(operators)
	for _, k := range slices.Sorted(maps.Keys(m.Labels)) {
		e.About.Labels = append(e.About.Labels, Label{k, m.Labels[k]})
	}
	for _, c := range m.Retained {
		e.Retained = append(e.Retained, p.checkpoint(c))
	}
	for _, l := range m.Lent {
		e.Lent = append(e.Lent, Lent{Pin: p.nonce(l.Pin), Checkpoint: l.CheckpointId, Holder: l.Holder, HolderEpoch: l.HolderEpoch,
			Mode: p.mode(l.Mode), Expires: l.ExpiresAtMillis})
	}
	for _, l := range m.Borrowed {
		e.Borrowed = append(e.Borrowed, Borrowed{Pin: p.nonce(l.Pin), Job: l.JobId, Checkpoint: l.CheckpointId, Mode: p.mode(l.Mode)})
	}
	for _, s := range m.Savepoints {
		e.Savepoints = append(e.Savepoints, p.savepoint(s))
	}
	for _, r := range m.Requests {
		e.Requests = append(e.Requests, p.request(r))
	}
	if i := m.Import; i != nil {
		e.Import = Import{State: ImportState(p.given("state of the import", int32(i.State), int32(ImportOutlived))), Request: i.Request,
			Source: i.Source, Nonce: p.nonce(i.Nonce), Mode: p.mode(i.Mode), Job: i.JobId, Checkpoint: i.CheckpointId}
	}
	if o := m.CopiedFrom; o != nil {
		e.CopiedFrom = Origin{RootID: o.RootId, Job: o.JobId, Unfinished: o.Unfinished}
	}
	return e, p.err()
}

// parser keeps the first error, and the first value that only a newer version can have written.
type parser struct{ bad, newer error }

// err is the error of the whole entry. ErrNewer wins, because an entry of a newer version may look damaged to this one.
func (p *parser) err() error {
	switch {
	case p.newer != nil:
		return fmt.Errorf("%w: %w", ErrNewer, p.newer)
	case p.bad != nil:
		return fmt.Errorf("%w: %w", ErrCorrupt, p.bad)
	}
	return nil
}

func (p *parser) corrupt(err error) {
	if p.bad == nil {
		p.bad = err
	}
}

func (p *parser) nonce(s string) Nonce {
	n, err := ParseNonce(s)
	if err != nil {
		p.corrupt(err)
	}
	return n
}

func (p *parser) request(b []byte) (r Request) {
	if len(b) != len(r) {
		p.corrupt(fmt.Errorf("request of %d bytes", len(b)))
		return r
	}
	return Request(b)
}

// known takes the value of an enum that decides something. A larger one than the largest known is a newer version's.
func (p *parser) known(what string, v, most int32) int32 {
	switch {
	case v < 0:
		p.corrupt(fmt.Errorf("%s %d", what, v))
	case v > most && p.newer == nil:
		p.newer = fmt.Errorf("unknown %s %d", what, v)
	}
	return v
}

// given is known for a field that every writer sets: 0 is corrupt.
func (p *parser) given(what string, v, most int32) int32 {
	if v == 0 {
		p.corrupt(fmt.Errorf("no %s", what))
	}
	return p.known(what, v, most)
}

func (p *parser) mode(m storedv1.JournalMode) Mode {
	return Mode(p.given("mode", int32(m), int32(Claim)+1) - 1)
}

func (p *parser) checkpoint(c *storedv1.JournalCheckpoint) Checkpoint {
	if c.MetadataKey != metadataKey(c.CheckpointId) {
		p.corrupt(fmt.Errorf("checkpoint %d: _metadata at %q", c.CheckpointId, c.MetadataKey))
	}
	return Checkpoint{
		ID: c.CheckpointId, Type: CheckpointType(p.given("type of checkpoint", int32(c.Type), int32(TypeSavepoint)+1) - 1),
		State: CheckpointState(p.given("state of checkpoint", int32(c.State), int32(StateHidden)+1) - 1),
		Nonce: p.nonce(c.MetadataNonce), Size: c.MetadataSize, CRC: c.MetadataCrc32C,
		Imported: c.Imported, Keep: c.Keep, Tags: c.Tags, TrashedAt: c.TrashedAtMillis, TrashUntil: c.TrashUntilMillis,
		CompletedAt: c.CompletedAtMillis, DurationMillis: c.DurationMillis, StateBytes: c.StateBytes, NewBytes: c.NewBytes,
	}
}

func (p *parser) savepoint(s *storedv1.JournalSavepoint) Savepoint {
	out := Savepoint{
		ID: s.Id, Path: s.Path, Outcome: SavepointOutcome(p.given("outcome of savepoint", int32(s.Outcome), int32(SavepointCleaned)+1) - 1),
		Stop:  Stop(p.given("kind of stop", int32(s.Stop), int32(StopDrain)+1) - 1),
		Nonce: p.nonce(s.MetadataNonce), Size: s.MetadataSize, CRC: s.MetadataCrc32C, EndedAt: s.EndedAtMillis, Periodic: s.Periodic,
	}
	if len(s.Request) > 0 {
		out.Request = p.request(s.Request)
	}
	return out
}
