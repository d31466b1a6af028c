package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	storedv1 "github.com/ckptd/ckptd/proto/ckptd/stored/v1"
)

var (
	// ErrCorrupt is in the chain when a slot's bytes are not an entry.
	ErrCorrupt = errors.New("corrupt journal entry")
	// ErrNewer is in the chain when a slot asks for a newer reader.
	ErrNewer = errors.New("journal entry of a newer format")
	// ErrTooLarge is in the chain when an entry does not fit into MaxBytes, or its config into MaxConfig.
	ErrTooLarge = errors.New("journal entry too large")
)

const (
	magic    = "ckptdJE\n"
	preamble = 28
)

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// Encode writes an entry down: the same bytes each time.
func Encode(e *Entry) ([]byte, error) {
	m := toProto(e)
	if n := proto.Size(m.Config); n > MaxConfig {
		return nil, fmt.Errorf("journal: encode slot %d: config of %d bytes: %w", e.Slot, n, ErrTooLarge)
	}
	payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("journal: encode slot %d: %w", e.Slot, err)
	}
	if n := preamble + len(payload) + 4; n > MaxBytes {
		return nil, fmt.Errorf("journal: encode slot %d: %d bytes: %w", e.Slot, n, ErrTooLarge)
	}
	return frame(payload, e.LeastReader, e.LeastWriter), nil
}

// frame puts a payload between its preamble and its sum.
func frame(payload []byte, leastReader, leastWriter uint32) []byte {
	b := make([]byte, 0, preamble+len(payload)+4)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, FormatVersion)
	b = binary.LittleEndian.AppendUint32(b, leastReader)
	b = binary.LittleEndian.AppendUint32(b, leastWriter)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, castagnoli(b))
	b = append(b, payload...)
	return binary.LittleEndian.AppendUint32(b, castagnoli(b))
}

// Decode reads an entry. Its errors have ErrCorrupt or ErrNewer in the chain.
func Decode(b []byte) (*Entry, error) {
	if len(b) < preamble || string(b[:8]) != magic || castagnoli(b[:24]) != binary.LittleEndian.Uint32(b[24:]) {
		return nil, fmt.Errorf("journal: decode: preamble: %w", ErrCorrupt)
	}
	reader, writer := binary.LittleEndian.Uint32(b[12:]), binary.LittleEndian.Uint32(b[16:])
	if reader > FormatVersion {
		return nil, fmt.Errorf("journal: decode: needs version %d, this is %d: %w", reader, FormatVersion, ErrNewer)
	}
	end := uint64(preamble) + uint64(binary.LittleEndian.Uint32(b[20:]))
	if len(b) > MaxBytes || uint64(len(b)) != end+4 || castagnoli(b[:end]) != binary.LittleEndian.Uint32(b[end:]) {
		return nil, fmt.Errorf("journal: decode: length or checksum: %w", ErrCorrupt)
	}
	var m storedv1.JournalEntry
	if err := proto.Unmarshal(b[preamble:end], &m); err != nil {
		return nil, fmt.Errorf("journal: decode: %w: %w", ErrCorrupt, err)
	}
	e, err := fromProto(&m)
	if err != nil {
		return nil, fmt.Errorf("journal: decode slot %d: %w: %w", m.Slot, ErrCorrupt, err)
	}
	e.LeastReader, e.LeastWriter = reader, writer
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("journal: decode slot %d: %w: %w", m.Slot, ErrCorrupt, err)
	}
	e.seal()
	return e, nil
}

// Fits tells whether a job's entries will fit however many checkpoints it retains: asked before anything is begun.
func Fits(plan *Plan, config *Config, about *About, urls []string) error {
	n := Nonce{Process: Process{1}, Count: 1<<32 - 1}
	e := Entry{Slot: 1 << 63, Epoch: 1 << 63, Attempt: 1 << 63, Restore: 1 << 63, Reserved: 1 << 63, Nonce: n, Owner: n, URLs: urls,
		Kind: KindReturn, Status: StatusFinished, Plan: plan, Config: config, About: about, Ring: make([]Nonce, DefaultSettings().Ring), Requests: make([]Request, MaxRequests)}
	for i := range e.Ring {
		e.Ring[i] = n
	}
	c := Checkpoint{ID: 1 << 63, Nonce: n, Size: 1 << 40, CRC: 1, CompletedAt: 1 << 45, DurationMillis: 1 << 40, StateBytes: 1 << 60, NewBytes: 1 << 60}
	e.Retained = slices.Repeat([]Checkpoint{c}, MaxRetained)
	_, err := Encode(&e)
	return err
}

// check refuses what no writer of this format writes.
func (e *Entry) check() error {
	switch {
	case e.Slot == 0 || e.Epoch == 0:
		return errors.New("no slot or epoch")
	case e.Status == StatusNone || e.Kind == KindNone:
		return errors.New("no status or kind")
	case len(e.Ring) == 0 || e.Ring[len(e.Ring)-1] != e.Nonce || e.Nonce.IsZero():
		return errors.New("the ring does not end with the nonce")
	case len(e.Retained) > MaxRetained || len(e.Requests) > MaxRequests || len(e.Savepoints) > MaxSavepoints:
		return errors.New("too much of something")
	}
	var last uint64
	for _, c := range e.Retained {
		if c.ID <= last || c.ID > e.Reserved {
			return fmt.Errorf("retained checkpoint %d out of order or above what is reserved", c.ID)
		}
		last = c.ID
	}
	return nil
}

// metadataKey is where every checkpoint of this format has its _metadata.
func metadataKey(id uint64) string { return fmt.Sprintf("chk-%d/_metadata", id) }

func toProto(e *Entry) *storedv1.JournalEntry {
	m := &storedv1.JournalEntry{
		Slot: e.Slot, Kind: storedv1.JournalEntry_Kind(e.Kind), Nonce: e.Nonce.String(), Epoch: e.Epoch, Owner: e.Owner.String(),
		OwnerUrls: e.URLs, Attempt: e.Attempt, RestoreCheckpointId: e.Restore, Status: storedv1.JournalEntry_Status(e.Status),
		Reserved: e.Reserved, JobId: e.About.Job, RestoredFrom: e.About.RestoredFrom,
		Config: &storedv1.JournalConfig{
			AtLeastOnce: e.Config.AtLeastOnce, IntervalMillis: e.Config.IntervalMillis, TimeoutMillis: e.Config.TimeoutMillis,
			PauseMillis: e.Config.PauseMillis, TolerableFailures: e.Config.TolerableFailures,
			Retention: storedv1.JournalConfig_Retention(e.Config.Retention), NumRetained: e.Config.NumRetained,
			RestartAttempts: e.Config.RestartAttempts, RestartDelayMillis: e.Config.RestartDelayMillis,
		},
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
	for _, c := range e.Retained {
		m.Retained = append(m.Retained, &storedv1.JournalCheckpoint{
			CheckpointId: c.ID, Type: storedv1.JournalCheckpoint_Type(c.Type + 1), State: storedv1.JournalCheckpoint_State(c.State + 1),
			MetadataKey: metadataKey(c.ID), MetadataNonce: c.Nonce.String(), MetadataSize: c.Size, MetadataCrc32C: c.CRC,
			CompletedAtMillis: c.CompletedAt, DurationMillis: c.DurationMillis, StateBytes: c.StateBytes, NewBytes: c.NewBytes})
	}
	for _, l := range e.Lent {
		m.Lent = append(m.Lent, &storedv1.JournalLent{Pin: l.Pin.String(), CheckpointId: l.Checkpoint, Holder: l.Holder, HolderEpoch: l.HolderEpoch})
	}
	for _, l := range e.Borrowed {
		m.Borrowed = append(m.Borrowed, &storedv1.JournalBorrowed{Pin: l.Pin.String(), JobId: l.Job, CheckpointId: l.Checkpoint})
	}
	for _, s := range e.Savepoints {
		m.Savepoints = append(m.Savepoints, &storedv1.JournalSavepoint{Id: s.ID, Path: s.Path, Done: s.Done})
	}
	for _, r := range e.Requests {
		m.Requests = append(m.Requests, r[:])
	}
	return m
}

func fromProto(m *storedv1.JournalEntry) (*Entry, error) {
	p := parser{}
	c := m.GetConfig()
	e := &Entry{
		Slot: m.Slot, Kind: Kind(m.Kind), Nonce: p.nonce(m.Nonce), Epoch: m.Epoch, Owner: p.nonce(m.Owner), URLs: m.OwnerUrls,
		Attempt: m.Attempt, Restore: m.RestoreCheckpointId, Status: Status(m.Status), Reserved: m.Reserved,
		About: &About{Job: m.JobId, RestoredFrom: m.RestoredFrom},
		Config: &Config{
			AtLeastOnce: c.GetAtLeastOnce(), IntervalMillis: c.GetIntervalMillis(), TimeoutMillis: c.GetTimeoutMillis(),
			PauseMillis: c.GetPauseMillis(), TolerableFailures: c.GetTolerableFailures(), Retention: Retention(c.GetRetention()),
			NumRetained: c.GetNumRetained(), RestartAttempts: c.GetRestartAttempts(), RestartDelayMillis: c.GetRestartDelayMillis(),
		},
	}
	p.within("kind", int32(m.Kind), int32(KindReturn))
	p.within("status", int32(m.Status), int32(StatusFinished))
	p.within("retention", int32(c.GetRetention()), int32(RetainOnCancellation))
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
		p.within("type", int32(c.Type)-1, int32(TypeSavepoint))
		p.within("state", int32(c.State)-1, int32(StateHidden))
		if c.MetadataKey != metadataKey(c.CheckpointId) {
			p.fail(fmt.Errorf("checkpoint %d: _metadata at %q", c.CheckpointId, c.MetadataKey))
		}
		e.Retained = append(e.Retained, Checkpoint{
			ID: c.CheckpointId, Type: CheckpointType(c.Type - 1), State: CheckpointState(c.State - 1), Nonce: p.nonce(c.MetadataNonce),
			Size: c.MetadataSize, CRC: c.MetadataCrc32C, CompletedAt: c.CompletedAtMillis, DurationMillis: c.DurationMillis,
			StateBytes: c.StateBytes, NewBytes: c.NewBytes})
	}
	for _, l := range m.Lent {
		e.Lent = append(e.Lent, Lent{Pin: p.nonce(l.Pin), Checkpoint: l.CheckpointId, Holder: l.Holder, HolderEpoch: l.HolderEpoch})
	}
	for _, l := range m.Borrowed {
		e.Borrowed = append(e.Borrowed, Borrowed{Pin: p.nonce(l.Pin), Job: l.JobId, Checkpoint: l.CheckpointId})
	}
	for _, s := range m.Savepoints {
		e.Savepoints = append(e.Savepoints, Savepoint{ID: s.Id, Path: s.Path, Done: s.Done})
	}
	for _, r := range m.Requests {
		if len(r) != len(Request{}) {
			p.fail(fmt.Errorf("request of %d bytes", len(r)))
			continue
		}
		e.Requests = append(e.Requests, Request(r))
	}
	return e, p.err
}

// parser keeps the first thing that was wrong.
type parser struct{ err error }

func (p *parser) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *parser) nonce(s string) Nonce {
	n, err := ParseNonce(s)
	if err != nil {
		p.fail(err)
	}
	return n
}

func (p *parser) within(what string, v, most int32) {
	if v < 0 || v > most {
		p.fail(fmt.Errorf("unknown %s %d", what, v))
	}
}
