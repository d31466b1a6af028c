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

// inlineTries bounds how often an acknowledgement with too many inline bytes is made smaller.
const inlineTries = 3

// Snapshot makes the subtasks' part of a checkpoint durable and acknowledges it. It asks the daemon which files are
// known, and sends the others in parallel. If a stream breaks, it sends the file again from its source. Exclusive
// pieces up to the daemon's inline threshold travel inside the acknowledgement. If Snapshot returns nil, the part is
// acknowledged; the command Complete tells later that the checkpoint is complete.
func (j *Job) Snapshot(ctx context.Context, s Snapshot) error {
	j.standing.begin(s.Attempt, s.Checkpoint)
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
	// parts are all pieces, subtask by subtask. A shared file that several subtasks name is one part.
	parts [][]*part
	files map[fileIdentity]*part
	// room holds the parts. It has room for all pieces, so it never grows, and pointers to parts stay valid.
	room []part
}

// fileIdentity identifies a backend's file: two pieces with equal identity are in the same file.
type fileIdentity struct {
	instance, name string
	size           int64
	scope          Scope
}

// part is a piece and its progress. Once its bytes are stored or travel inline, exactly one of inline, known and file
// is set.
type part struct {
	piece  Piece
	inline []byte
	known  uint32
	file   *ckptdv1.FileHandle
	// asked is true if the daemon was asked whether it knows the file.
	asked bool
}

// handle is the part's file with the segment s of a piece; nil: the whole file.
func (p *part) handle(s *Segment) *ckptdv1.FileHandle {
	if s == nil && p.piece.Compression == nil {
		return p.file
	}
	f := proto.CloneOf(p.file)
	f.Segment, f.Compression = toSegment(s), toCompression(p.piece.Compression)
	return f
}

// placed tells whether the part's bytes need not be sent any more.
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
	if s := p.Segment; s != nil && (s.Offset > uint64(p.Size) || s.Length > uint64(p.Size)-s.Offset) {
		return nil, &callError{kind: ErrInvalid, cause: fmt.Errorf("piece %q: segment of %d bytes from %d in a file of %d",
			p.Name, s.Length, s.Offset, p.Size)}
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

// add stores a part.
func (sn *snapshotter) add(p part) *part {
	sn.room = append(sn.room, p)
	return &sn.room[len(sn.room)-1]
}

// offload turns the largest inline parts into files, until at most limit inline bytes remain.
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

// ask asks the owner which shared files it knows. The owner promises to keep those until the checkpoint ends.
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

// missing are the parts that have to be sent, without duplicates.
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

// acknowledge tells the owner that all pieces are durable. If the checkpoint takes no more inline bytes, acknowledge
// sends inline pieces as files first.
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
		// Other workers may use up the inline bytes that are left. The last try sends no inline bytes at all.
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
			// The key groups are those of the subtask's own piece, because several subtasks may share the part.
			own := &sn.snapshot.Subtasks[i].Pieces[j]
			h := &ckptdv1.SnapshotHandle{KeyGroups: toKeyGroups(own.KeyGroups), State: toState(own.State)}
			if p.known == 0 || p.piece.RestoredKey != "" { // else the daemon knows the file by the same names
				h.Name, h.InstanceNonce = own.Name, own.InstanceNonce
			}
			switch {
			case p.file != nil:
				h.Source = &ckptdv1.SnapshotHandle_Uploaded{Uploaded: p.handle(own.Segment)}
			case p.known != 0:
				h.Source, h.Segment = &ckptdv1.SnapshotHandle_Known{Known: p.known}, toSegment(own.Segment)
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

// nonNil turns nil into an empty slice: empty state is not the same as no state.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
