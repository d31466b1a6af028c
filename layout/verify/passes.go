package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// records calls do with each record of a _metadata, and returns the reader after the last one, and the bytes and their
// sum.
func records(ctx context.Context, s storage.Store, key string, do func(m *layout.MetadataReader, rec layout.Record) error) (*layout.MetadataReader, *summed, error) {
	body, err := s.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, nil, err
	}
	defer body.Close()
	whole := &summed{r: body}
	m, err := layout.NewMetadataReader(whole)
	if err != nil {
		return nil, nil, err
	}
	for {
		rec, err := m.Next()
		if err == io.EOF {
			return m, whole, nil
		}
		if err == nil {
			err = do(m, rec)
		}
		if err != nil {
			return nil, nil, err
		}
	}
}

// summed counts and sums the bytes that are read through it.
type summed struct {
	r    io.Reader
	size uint64
	sum  uint32
}

func (s *summed) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.size += uint64(n)
	s.sum = crc32c.Update(s.sum, p[:n])
	return n, err
}

// kindOf tells what the error of reading a _metadata or a journal means.
func kindOf(err error) ckptdv1.DamageKind {
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return ckptdv1.DamageKind_DAMAGE_KIND_METADATA_MISSING
	case errors.Is(err, layout.ErrNewerFormat), errors.Is(err, layout.ErrUnknownKind), errors.Is(err, journal.ErrNewer):
		return ckptdv1.DamageKind_DAMAGE_KIND_METADATA_NEWER
	case errors.Is(err, errOther):
		return ckptdv1.DamageKind_DAMAGE_KIND_METADATA_OTHER
	case errors.Is(err, layout.ErrCorrupt), errors.Is(err, catalog.ErrDamaged), errors.Is(err, journal.ErrCorrupt):
		return ckptdv1.DamageKind_DAMAGE_KIND_METADATA_CORRUPT
	}
	return ckptdv1.DamageKind_DAMAGE_KIND_UNREADABLE
}

// errOther: the _metadata is not the one that the journal means.
var errOther = errors.New("another _metadata than the journal's")

// names reads the _metadata of each checkpoint and enters the files into the table.
func (r *run) names(ctx context.Context, targets []*target) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.opts.Parallel)
	for _, t := range targets {
		g.Go(func() error {
			err := r.name(ctx, t)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r.opts.Progress.Metadata.Add(1)
			t.read = err == nil
			if t.read {
				t.out.Verdict = ckptdv1.VerifyVerdict_VERIFY_VERDICT_WHOLE
				return nil
			}
			return r.accuse(t, err)
		})
	}
	return g.Wait()
}

// name reads one _metadata.
func (r *run) name(ctx context.Context, t *target) error {
	var files, bytes, away uint64
	m, whole, err := records(ctx, r.store, t.key, func(m *layout.MetadataReader, rec layout.Record) error {
		f, ok := rec.(*layout.File)
		if !ok {
			return nil
		}
		if t.job == "" { // its own words are all that is known of it
			t.out.CheckpointId = m.Header().Checkpoint
		}
		files, bytes = files+1, bytes+f.Length
		key := t.locate(f)
		if key == "" {
			away++
			return nil
		}
		r.table.add(idOf(key), f)
		r.folder(key[:strings.LastIndexByte(key, '/')+1])
		return nil
	})
	if err != nil {
		return err
	}
	h := m.Header()
	t.out.CheckpointId, t.out.Files, t.out.Bytes, t.out.FilesNotLookedFor = h.Checkpoint, files, bytes, away
	if t.job != "" && (h.JobID != t.job || h.Checkpoint != t.id) {
		t.out.CheckpointId = t.id
		return fmt.Errorf("%w: it is that of %s/%s", errOther, h.JobID, layout.CheckpointDir(h.Checkpoint))
	}
	if e := t.entry; e != nil && (h.Nonce != e.Nonce.String() || whole.size != e.Size || whole.sum != e.CRC) {
		return fmt.Errorf("%w: the journal means %s of %d bytes with CRC32C %08x, but this is %s of %d bytes with %08x", errOther,
			e.Nonce, e.Size, e.CRC, h.Nonce, whole.size, whole.sum)
	}
	return nil
}

func (r *run) folder(prefix string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.folders[prefix] = struct{}{}
}

// accuse notes that the _metadata of a checkpoint is damaged or cannot be read. Its error means that the store fails.
func (r *run) accuse(t *target, err error) error {
	kind := kindOf(err)
	t.out.Damages, t.out.DamagesTotal = []*ckptdv1.Damage{{Kind: kind, Key: t.key, Text: err.Error()}}, 1
	t.out.Verdict = ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED
	if kind != ckptdv1.DamageKind_DAMAGE_KIND_UNREADABLE {
		return nil
	}
	t.out.Verdict = ckptdv1.VerifyVerdict_VERIFY_VERDICT_UNREADABLE
	return r.failed(err)
}

// failed counts one thing that the store did not give. It returns an error when there are too many.
func (r *run) failed(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unreadable++
	r.last = err
	if r.unreadable > MaxUnreadable {
		return fmt.Errorf("the store fails: objects that could not be read: %d; the last cause: %w", r.unreadable, err)
	}
	return nil
}

// sizes lists the folders of all files.
func (r *run) sizes(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.opts.Parallel)
	for folder := range r.folders {
		g.Go(func() error {
			for info, err := range r.store.List(ctx, folder) {
				switch {
				case ctx.Err() != nil:
					return ctx.Err()
				case err != nil:
					r.mu.Lock()
					r.unlisted[folder] = err
					r.mu.Unlock()
					return r.failed(err)
				}
				r.table.list(idOf(info.Key), uint64(info.Size))
				if !r.opts.ReadData {
					r.opts.Progress.Files.Add(1)
				}
			}
			return nil
		})
	}
	return g.Wait()
}
