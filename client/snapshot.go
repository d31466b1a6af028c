package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// inlineTries is how often an acknowledgement with too many inline bytes is made smaller.
const inlineTries = 3

// Snapshot makes the subtasks' part of a checkpoint durable and acknowledges it: asks which files are known, sends the others
// in parallel, each again from its source if its stream breaks, then acknowledges. Exclusive pieces up to the daemon's inline
// threshold travel inside the acknowledgement. nil: acknowledged (that the checkpoint is complete is told by Complete).
func (j *Job) Snapshot(ctx context.Context, s Snapshot) error {
	return j.wrap(fmt.Sprintf("snapshot %d of", s.Checkpoint), j.snapshot(ctx, s))
}

func (j *Job) snapshot(ctx context.Context, s Snapshot) error {
	sn := &snapshotter{job: j, snapshot: s}
	if err := sn.plan(); err != nil {
		return err
	}
	if err := sn.ask(ctx); err != nil {
		return err
	}
	if err := sn.send(ctx, sn.missing()); err != nil {
		return err
	}
	return sn.acknowledge(ctx)
}

// snapshotter is one Snapshot under way.
type snapshotter struct {
	job      *Job
	snapshot Snapshot
	// parts are all pieces, subtask by subtask; a shared file that several subtasks name is one part for all.
	parts [][]*part
	files map[fileIdentity]*part
	// room holds the parts: as many as there are pieces, so that it never grows and they never move.
	room []part
}

// fileIdentity is what makes a backend's file the same file.
type fileIdentity struct {
	instance, name string
	size           int64
	scope          Scope
}

// part is a piece and how far it is: exactly one of inline, known and file says where its bytes are, once they are anywhere.
type part struct {
	piece  Piece
	inline []byte
	known  uint32
	file   *File
	// asked: the daemon was asked for it.
	asked bool
}

// handle is the part's file as a piece names it that is a segment of it, or the whole.
func (p *part) handle(s *Segment) *File {
	if s == nil && p.piece.Compression == nil {
		return p.file
	}
	f := proto.CloneOf(p.file)
	f.Segment, f.Compression = s, p.piece.Compression
	return f
}

// placed: the part needs nothing more.
func (p *part) placed() bool { return p.inline != nil || p.known != 0 || p.file != nil }

// plan decides which pieces travel inside the acknowledgement.
func (sn *snapshotter) plan() error {
	sn.job.mu.Lock()
	threshold, limit := sn.job.threshold, sn.job.inlineCap
	sn.job.mu.Unlock()
	all := 0
	for _, st := range sn.snapshot.Subtasks {
		all += len(st.Pieces)
	}
	sn.files, sn.room = make(map[fileIdentity]*part, all), make([]part, 0, all)
	for _, st := range sn.snapshot.Subtasks {
		parts := make([]*part, 0, len(st.Pieces))
		for _, p := range st.Pieces {
			q, err := sn.part(p, threshold)
			if err != nil {
				return err
			}
			parts = append(parts, q)
		}
		sn.parts = append(sn.parts, parts)
	}
	sn.offload(limit)
	return nil
}

func (sn *snapshotter) part(p Piece, threshold int) (*part, error) {
	if p.Open == nil {
		inline := p.Inline
		p.Size = int64(len(inline))
		p.Open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(inline)), nil }
		if len(inline) <= threshold && !p.inFile() {
			return sn.add(part{piece: p, inline: nonNil(inline)}), nil
		}
	}
	if s := p.Segment; s != nil && (s.GetOffset() > uint64(p.Size) || s.GetLength() > uint64(p.Size)-s.GetOffset()) {
		return nil, &callError{kind: ErrInvalid, cause: fmt.Errorf("piece %q: segment of %d bytes from %d in a file of %d",
			p.Name, s.GetLength(), s.GetOffset(), p.Size)}
	}
	if p.Scope == Exclusive && p.Segment == nil {
		q := part{piece: p}
		if p.Size <= int64(threshold) && !p.inFile() {
			b, err := readSource(p)
			if err != nil {
				return nil, err
			}
			q.inline = nonNil(b)
		}
		return sn.add(q), nil
	}
	if p.Scope == Shared && (p.InstanceNonce == "" || p.Name == "") {
		return nil, &callError{kind: ErrInvalid, cause: fmt.Errorf("shared piece %q of instance %q: needs both names", p.Name, p.InstanceNonce)}
	}
	id := fileIdentity{p.InstanceNonce, p.Name, p.Size, p.Scope}
	if q := sn.files[id]; q != nil {
		return q, nil
	}
	q := sn.add(part{piece: p})
	sn.files[id] = q
	return q, nil
}

// add keeps a part.
func (sn *snapshotter) add(p part) *part {
	sn.room = append(sn.room, p)
	return &sn.room[len(sn.room)-1]
}

// offload turns the largest inline parts into files until at most limit inline bytes are left.
func (sn *snapshotter) offload(limit int) {
	var inline []*part
	total := 0
	for _, p := range slices.Concat(sn.parts...) {
		if len(p.inline) > 0 {
			inline = append(inline, p)
			total += len(p.inline)
		}
	}
	slices.SortStableFunc(inline, func(a, b *part) int { return cmp.Compare(len(b.inline), len(a.inline)) })
	for _, p := range inline {
		if total <= limit {
			return
		}
		total -= len(p.inline)
		p.inline = nil
	}
}

// ask finds out which shared files need not travel. They are promised until the checkpoint ends.
func (sn *snapshotter) ask(ctx context.Context) error {
	asked := make([]*part, 0, len(sn.files))
	files := make([]ckptdv1.LocalFile, len(sn.files))
	req := &ckptdv1.BeginSnapshotRequest{
		JobId: sn.job.spec.ID, Epoch: sn.snapshot.Epoch, Attempt: sn.snapshot.Attempt, CheckpointId: sn.snapshot.Checkpoint,
	}
	for i, parts := range sn.parts {
		req.Subtasks = append(req.Subtasks, toSubtask(sn.snapshot.Subtasks[i].Subtask))
		for _, p := range parts {
			if p.piece.Scope != Shared || p.placed() || p.asked {
				continue
			}
			p.asked = true
			f := &files[len(asked)]
			f.InstanceNonce, f.Name, f.Size, f.RestoredKey = p.piece.InstanceNonce, p.piece.Name, uint64(p.piece.Size), p.piece.RestoredKey
			asked = append(asked, p)
			req.Files = append(req.Files, f)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	res, err := callAs(ctx, sn.job, sn.snapshot.Epoch, func(ctx context.Context, e *endpoint) (*ckptdv1.BeginSnapshotResponse, error) {
		return e.engine.BeginSnapshot(ctx, req)
	})
	if err != nil {
		return err
	}
	if len(res.GetKnown()) != len(asked) {
		return fmt.Errorf("%w: the daemon answered for %d files, asked were %d", ErrInvalid, len(res.GetKnown()), len(asked))
	}
	for i, p := range asked {
		p.known = res.GetKnown()[i]
	}
	return nil
}

// missing are the parts that have to be sent, each once.
func (sn *snapshotter) missing() []*part {
	var missing []*part
	for i := range sn.room {
		if p := &sn.room[i]; !p.placed() {
			missing = append(missing, p)
		}
	}
	return missing
}

func (sn *snapshotter) send(ctx context.Context, parts []*part) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sn.job.client.options.parallel)
	for _, p := range parts {
		g.Go(func() (err error) {
			p.file, err = sn.job.send(ctx, upload{piece: p.piece, header: &ckptdv1.PutStateHeader{
				JobId: sn.job.spec.ID, Epoch: sn.snapshot.Epoch, Attempt: sn.snapshot.Attempt, CheckpointId: sn.snapshot.Checkpoint,
				Scope: toScope(p.piece.Scope),
			}})
			return err
		})
	}
	return g.Wait()
}

// acknowledge says that all is durable. Where the checkpoint takes no more inline bytes, pieces are sent as files first.
func (sn *snapshotter) acknowledge(ctx context.Context) error {
	for try := 1; ; try++ {
		req := sn.request()
		_, err := callAs(ctx, sn.job, sn.snapshot.Epoch, func(ctx context.Context, e *endpoint) (*ckptdv1.AcknowledgeResponse, error) {
			return e.engine.Acknowledge(ctx, req)
		})
		if !errors.Is(err, ErrInlineCap) || try == inlineTries {
			return err
		}
		left := 0
		// Others may take what is left now: the last try leaves nothing to chance.
		if try < inlineTries-1 {
			left = int(classify(ctx, err).refused.GetInlineLeft())
		}
		sn.offload(left)
		if err := sn.send(ctx, sn.missing()); err != nil {
			return err
		}
	}
}

func (sn *snapshotter) request() *ckptdv1.AcknowledgeRequest {
	req := &ckptdv1.AcknowledgeRequest{
		JobId: sn.job.spec.ID, Epoch: sn.snapshot.Epoch, Attempt: sn.snapshot.Attempt, CheckpointId: sn.snapshot.Checkpoint,
		RequestId: newID(),
	}
	for i, parts := range sn.parts {
		st := &ckptdv1.SubtaskSnapshot{
			Subtask: toSubtask(sn.snapshot.Subtasks[i].Subtask), Handles: make([]*ckptdv1.SnapshotHandle, 0, len(parts)),
			Finished: sn.snapshot.Subtasks[i].Finished,
		}
		for j, p := range parts {
			// The subtask's own piece, for its key groups: a shared part may stand for several.
			own := &sn.snapshot.Subtasks[i].Pieces[j]
			h := &ckptdv1.SnapshotHandle{KeyGroups: toKeyGroups(own.KeyGroups), State: own.State}
			if p.known == 0 || p.piece.RestoredKey != "" { // else the daemon knows the file by the very same names
				h.Name, h.InstanceNonce = own.Name, own.InstanceNonce
			}
			switch {
			case p.file != nil:
				h.Source = &ckptdv1.SnapshotHandle_Uploaded{Uploaded: p.handle(own.Segment)}
			case p.known != 0:
				h.Source, h.Segment = &ckptdv1.SnapshotHandle_Known{Known: p.known}, own.Segment
			default:
				h.Source = &ckptdv1.SnapshotHandle_Inline{Inline: p.inline}
			}
			st.Handles = append(st.Handles, h)
		}
		req.Snapshots = append(req.Snapshots, st)
	}
	return req
}

func readSource(p Piece) ([]byte, error) {
	src, err := p.Open()
	if err != nil {
		return nil, sourceError(p, err)
	}
	defer src.Close()
	b, err := io.ReadAll(io.LimitReader(src, p.Size+1))
	if err == nil && int64(len(b)) != p.Size {
		err = fmt.Errorf("has other than the %d bytes that the piece says", p.Size)
	}
	if err != nil {
		return nil, sourceError(p, err)
	}
	return b, nil
}

// nonNil keeps empty state apart from none.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
