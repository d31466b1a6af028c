package shell

import (
	"fmt"
	"math"
	"slices"

	"github.com/ckptd/ckptd/incremental"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/data"
	"github.com/ckptd/ckptd/service/api"
	"github.com/ckptd/ckptd/service/owner"
)

// readPiece checks and converts one piece of state. An uploaded file gets its number here. A piece that readPiece
// accepts can be written to a _metadata.
func (j *Job) readPiece(id uint64, op *journal.Operator, h *ckptdv1.SnapshotHandle, a *acknowledgement) (piece, error) {
	groups, err := api.GroupsIn(h.GetKeyGroups())
	if err != nil {
		return piece{}, err
	}
	p := piece{name: h.GetName(), instance: h.GetInstanceNonce(), groups: groups, state: api.StateIn(h.GetState(), groups)}
	if _, known := h.GetSource().(*ckptdv1.SnapshotHandle_Known); h.GetSegment() != nil && !known {
		return piece{}, api.Invalidf("acknowledge: piece %q: segment of a file that is not a known one: name the file by its known number", h.GetName())
	}
	length := uint64(0)
	switch s := h.GetSource().(type) {
	case *ckptdv1.SnapshotHandle_Inline:
		if len(s.Inline) > j.env.InlineCap {
			return piece{}, j.inlineRefused(id)
		}
		if err := j.largeInline(id, len(s.Inline)); err != nil {
			return piece{}, err
		}
		p.inline, length = s.Inline, uint64(len(s.Inline))
	case *ckptdv1.SnapshotHandle_Known:
		if s.Known == 0 {
			return piece{}, api.Invalidf("%s: piece %q: known number 0: BeginSnapshot answers 0 for a file that has to be sent", j.acknowledging(id), h.GetName())
		}
		p.isFile, p.file, p.segment = true, incremental.File(s.Known-1), api.SegmentIn(h.GetSegment())
		length = math.MaxUint64 // the file is not known; the machine refuses it
		if d, ok := j.names.Describe(p.file); ok {
			length = d.Size
		}
	case *ckptdv1.SnapshotHandle_Uploaded:
		d, err := j.readUpload(id, h, &p, a)
		if err != nil {
			return piece{}, err
		}
		length = d.Size
	default:
		return piece{}, api.Invalidf("%s: piece %q has no source: give inline bytes, an uploaded file or a known number", j.acknowledging(id), h.GetName())
	}
	file := layout.FileRef(0)
	if p.isFile {
		file = 1
	}
	checked := p.handle(file)
	if err := layout.CheckHandle(&checked, length, int(op.MaxParallelism)); err != nil {
		return piece{}, api.Invalidf("acknowledge: operator %s: piece %q: %w", op.ID, h.GetName(), err)
	}
	return p, nil
}

// readUpload checks the description of an uploaded file and gives the file its number. The description itself is kept
// only if the acknowledgement is accepted.
func (j *Job) readUpload(id uint64, h *ckptdv1.SnapshotHandle, p *piece, a *acknowledgement) (incremental.Description, error) {
	f := h.GetUploaded()
	name, err := api.UploadIn(f, j.id, id)
	if err != nil {
		return incremental.Description{}, err
	}
	d, bad := api.DescribeUpload(f, p.name, p.instance)
	if err := j.compareUpload(id, name, d, a); err != nil {
		return d, err
	}
	if bad != nil {
		return d, api.Invalidf("%s: file %s: %w", j.acknowledging(id), f.GetKey(), bad)
	}
	n, numbered := j.names.ByKey(d.Key)
	if !numbered {
		if n, err = j.names.Intern(incremental.Description{Key: d.Key}); err != nil {
			return d, api.Error(err)
		}
		a.fresh.Add(n)
	}
	if _, before := a.described[n]; !before {
		a.described[n] = d
	}
	p.isFile, p.file, p.segment = true, n, api.SegmentIn(f.GetSegment())
	a.uploads = append(a.uploads, owner.Found{File: n, Epoch: name.Epoch, Checkpoint: name.Checkpoint})
	return d, nil
}

// compareUpload compares the description of an uploaded file with an earlier one. The earlier one comes from PutState
// at this daemon. If another daemon stored the file, it comes from this call or from an accepted acknowledgement.
func (j *Job) compareUpload(id uint64, name layout.FileName, d incremental.Description, a *acknowledgement) error {
	if want := data.BlockCount(d.Size); uint64(len(d.Blocks)) != want {
		return j.unknownHandle(id, "file %s: %d block sums for %d bytes, want %d: name the file as PutState answered it", d.Key, len(d.Blocks), d.Size, want)
	}
	if name.Epoch != j.epoch() || name.Checkpoint != id {
		return nil // the file belongs to another epoch or checkpoint; the machine refuses it
	}
	stored := j.uploads.storedAs(id, d.Key)
	known := incremental.Description{Size: stored.GetLength(), CRC: stored.GetCrc32C(), Blocks: stored.GetBlockCrc32C()}
	if stored == nil { // another daemon stored the file, so its first description counts
		number, numbered := j.names.ByKey(d.Key)
		said, before := a.described[number]
		if !before {
			said, before = j.contents[id].described[number]
		}
		if !numbered || !before {
			return nil
		}
		known = said
	}
	if d.Size != known.Size || d.CRC != known.CRC || !slices.Equal(d.Blocks, known.Blocks) {
		return j.unknownHandle(id, "file %s: it is not the file that was stored: %s: name the file as PutState answered it", d.Key, difference(known, d))
	}
	return nil
}

// difference describes how two descriptions of a file differ.
func difference(stored, said incremental.Description) string {
	switch {
	case stored.Size != said.Size:
		return fmt.Sprintf("%d bytes are stored, the acknowledgement says %d", stored.Size, said.Size)
	case stored.CRC != said.CRC:
		return fmt.Sprintf("its CRC32C is %08x, the acknowledgement says %08x", stored.CRC, said.CRC)
	}
	return "its block sums differ"
}

// inlineFits refuses an acknowledgement that would bring the checkpoint's inline state above the cap.
func (j *Job) inlineFits(id uint64, a *acknowledgement) error {
	c := j.contents[id]
	if c == nil {
		return nil // the checkpoint is not open; the machine refuses the call
	}
	sum := c.inline
	for _, bytes := range a.inline {
		sum += bytes
	}
	if sum > j.env.InlineCap {
		return j.inlineRefused(id)
	}
	return nil
}

// largeInline refuses an inline piece of state that memory does not take.
func (j *Job) largeInline(id uint64, size int) error {
	if j.life.max == 0 || uint64(size) <= j.life.max {
		return nil
	}
	return api.Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_STATE_TOO_LARGE}, "%s: %v", j.acknowledging(id), StateTooLarge(uint64(size), j.life.max))
}

// inlineRefused makes the error for inline state above the cap.
func (j *Job) inlineRefused(id uint64) error {
	left := j.env.InlineCap
	if c := j.contents[id]; c != nil {
		left = max(0, left-c.inline)
	}
	return api.Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_INLINE_CAP, Epoch: j.epoch(), InlineLeft: uint32(left)},
		"%s: inline state above %d bytes: send pieces as files", j.acknowledging(id), j.env.InlineCap)
}

// acknowledging is how the error of each refusal begins.
func (j *Job) acknowledging(id uint64) string { return api.Acknowledging(j.id, id) }

// unknownHandle makes the error for an acknowledgement that names a file wrongly.
func (j *Job) unknownHandle(id uint64, format string, args ...any) error {
	return api.Refused(&ckptdv1.Refused{Reason: ckptdv1.Refused_REASON_UNKNOWN_HANDLE, Epoch: j.epoch()},
		"%s: %s", j.acknowledging(id), fmt.Sprintf(format, args...))
}
