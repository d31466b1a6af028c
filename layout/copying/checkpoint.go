package copying

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/catalog"
	"github.com/ckptd/ckptd/layout/journal"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// contents is what is known of a checkpoint after its _metadata was read once.
type contents struct {
	placer placer
	// moved: a file has another place in the copy, so the _metadata differs.
	moved bool
	// files and bytes that it names; lacking are those that the copy does not have.
	files, bytes, lackingFiles, lackingBytes uint64
}

// checkpoint copies one checkpoint of the plan: files, _metadata, entry. In a dry run it only counts.
func (j *job) checkpoint(ctx context.Context, c journal.Checkpoint, out *ckptdv1.CopiedCheckpoint) error {
	content, err := j.survey(ctx, c)
	if err != nil {
		return err
	}
	r := j.run
	r.opts.Progress.Metadata.Add(1)
	r.opts.Progress.TotalFiles.Add(content.lackingFiles)
	r.opts.Progress.TotalBytes.Add(content.lackingBytes)
	out.Files, out.Bytes = content.files, content.bytes
	r.report.FilesPresent += content.files - content.lackingFiles
	r.report.BytesPresent += content.bytes - content.lackingBytes
	if j.owned == nil {
		out.FilesCopied, out.BytesCopied = content.lackingFiles, content.lackingBytes
		r.report.FilesCopied += content.lackingFiles
		r.report.BytesCopied += content.lackingBytes
		return nil
	}
	if err := j.copyFiles(ctx, c, content, out); err != nil {
		return err
	}
	made, err := j.copyMetadata(ctx, c, content)
	r.step(err, StepMetadata)
	if err != nil {
		return err
	}
	if err := j.owned.retain(ctx, made); err != nil {
		return err
	}
	out.Outcome = ckptdv1.CopyOutcome_COPY_OUTCOME_COPIED
	return nil
}

// survey reads the whole _metadata of a checkpoint before anything acts on it, compares it with the journal, and counts
// what the copy lacks.
func (j *job) survey(ctx context.Context, c journal.Checkpoint) (*contents, error) {
	content := &contents{}
	counted := map[fileID]int64{}
	var wrong error
	header, err := j.records(ctx, c, func(h layout.Header, rec layout.Record) error {
		content.placer = j.placer(h)
		f, ok := rec.(*layout.File)
		if !ok {
			return nil
		}
		to, moved := content.placer.place(f)
		content.moved = content.moved || moved
		content.files, content.bytes = content.files+1, content.bytes+f.Length
		key := catalog.Key(j.id, c.ID, to.Key, "")
		id := idOf(key)
		switch size, ok := j.have[id]; {
		case ok && uint64(size) != f.Length:
			wrong = fmt.Errorf("%w: the target's %s has %d bytes, want %d: `ckptd verify` the target", catalog.ErrDamaged, key, size, f.Length)
		case ok:
		default:
			if _, again := counted[id]; !again {
				counted[id] = int64(f.Length)
				content.lackingFiles, content.lackingBytes = content.lackingFiles+1, content.lackingBytes+f.Length
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if j.owned == nil { // a dry run counts a file once
		maps.Copy(j.have, counted)
	}
	content.placer = j.placer(header)
	content.moved = content.moved || j.run.opts.SelfContained
	return content, wrong
}

func (j *job) placer(h layout.Header) placer {
	return placer{rootID: j.run.from.Root.ID, header: h, all: j.run.opts.SelfContained}
}

// records calls do with each record of the _metadata of a checkpoint in the source. At the end it compares size and sum
// with the journal.
func (j *job) records(ctx context.Context, c journal.Checkpoint, do func(h layout.Header, rec layout.Record) error) (layout.Header, error) {
	key := layout.MetadataKey(j.id, c.ID)
	body, err := j.run.from.Store.Open(ctx, key, 0, -1)
	if err != nil {
		return layout.Header{}, err
	}
	defer body.Close()
	whole := &summed{r: body}
	m, err := layout.NewMetadataReader(whole)
	if err != nil {
		return layout.Header{}, err
	}
	h := m.Header()
	if h.JobID != j.id || h.Checkpoint != c.ID || h.Nonce != c.Nonce.String() {
		return h, fmt.Errorf("%w: %s is that of %s/%s with the nonce %s, the journal means %s", catalog.ErrDamaged, key, h.JobID, layout.CheckpointDir(h.Checkpoint), h.Nonce, c.Nonce)
	}
	for {
		rec, err := m.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = do(h, rec)
		}
		if err != nil {
			return h, err
		}
	}
	if whole.size != c.Size || whole.sum != c.CRC {
		return h, fmt.Errorf("%w: %s has %d bytes with CRC32C %08x, the journal means %d with %08x", catalog.ErrDamaged, key, whole.size, whole.sum, c.Size, c.CRC)
	}
	return h, nil
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

// copyFiles writes the files that the copy lacks, several at once. It reads the _metadata once more, so that no list of
// files is held.
func (j *job) copyFiles(ctx context.Context, c journal.Checkpoint, content *contents, out *ckptdv1.CopiedCheckpoint) error {
	if content.lackingFiles == 0 {
		return nil
	}
	for left := tries; ; left-- {
		g, groupCtx := errgroup.WithContext(ctx)
		g.SetLimit(j.run.opts.Parallel)
		begun := false
		_, err := j.records(groupCtx, c, func(_ layout.Header, rec layout.Record) error {
			f, ok := rec.(*layout.File)
			if !ok {
				return nil
			}
			to, _ := content.placer.place(f)
			key := catalog.Key(j.id, c.ID, to.Key, "")
			id := idOf(key)
			if _, lacks := j.claim(id, int64(f.Length)); !lacks {
				return nil
			}
			begun = true
			g.Go(func() error {
				err := j.run.copyFile(groupCtx, catalog.Key(j.id, c.ID, f.Key, f.Job), f, key, out)
				if err != nil {
					j.unclaim(id)
				}
				return err
			})
			return groupCtx.Err()
		})
		if failed := g.Wait(); failed != nil {
			return failed
		}
		// The stream of the _metadata stays open while files are copied. If it breaks, the files that were begun are there.
		if err == nil || ctx.Err() != nil || !begun && left <= 1 || outcomeOf(err) == ckptdv1.CopyOutcome_COPY_OUTCOME_DAMAGED || errors.Is(err, storage.ErrNotFound) {
			return err
		}
		if begun {
			left = tries
		}
	}
}

// copyFile copies one file, and counts it.
func (r *run) copyFile(ctx context.Context, from string, f *layout.File, to string, out *ckptdv1.CopiedCheckpoint) error {
	within, err := r.mover.File(ctx, from, f, to)
	if err != nil {
		return err
	}
	r.mu.Lock()
	out.FilesCopied, out.BytesCopied = out.FilesCopied+1, out.BytesCopied+f.Length
	r.report.FilesCopied, r.report.BytesCopied = r.report.FilesCopied+1, r.report.BytesCopied+f.Length
	if within {
		r.report.BytesWithinStore += f.Length
	}
	r.mu.Unlock()
	r.opts.Progress.Files.Add(1)
	r.step(nil, StepFile)
	return nil
}

// copyMetadata writes the _metadata of a checkpoint whose files are all there, and returns its entry.
func (j *job) copyMetadata(ctx context.Context, c journal.Checkpoint, content *contents) (journal.Checkpoint, error) {
	made := c
	made.Imported, made.TrashedAt = false, 0
	if content.moved {
		made.Nonce = derived(formMoved, c.Nonce)
	}
	if j.run.opts.SelfContained {
		made.Nonce = derived(formSelfContained, c.Nonce)
	}
	key := layout.MetadataKey(j.id, c.ID)
	var err error
	for range tries {
		if _, there := j.have[idOf(key)]; !there {
			if content.moved {
				made.Size, made.CRC, err = j.rewrite(ctx, c, content, made.Nonce, key)
			} else {
				f := &layout.File{Length: c.Size, CRC32C: c.CRC}
				_, err = j.run.mover.stream(ctx, key, f, key, storage.CreateOptions{Size: int64(c.Size), HasSize: true, CRC32C: c.CRC, HasCRC32C: true, IfAbsent: true})
			}
			if err == nil {
				j.have[idOf(key)] = int64(made.Size)
				return made, nil
			}
			if ctx.Err() != nil || outcomeOf(err) == ckptdv1.CopyOutcome_COPY_OUTCOME_DAMAGED {
				return made, err
			}
		}
		// An earlier try or an earlier copy has written it.
		found, foundErr := j.run.metadataThere(ctx, key)
		switch {
		case errors.Is(foundErr, storage.ErrNotFound):
			delete(j.have, idOf(key))
			continue
		case foundErr != nil:
			return made, foundErr
		case found.Nonce != made.Nonce:
			return made, fmt.Errorf("%w: the target's %s has the nonce %s, want %s: copy into another root", catalog.ErrDamaged, key, found.Nonce, made.Nonce)
		}
		made.Size, made.CRC = found.Size, found.CRC
		return made, nil
	}
	return made, err
}

// metadataThere reads a _metadata of the target to its end, and returns its nonce, size and sum.
func (r *run) metadataThere(ctx context.Context, key string) (c journal.Checkpoint, err error) {
	body, err := r.to.Store.Open(ctx, key, 0, -1)
	if err != nil {
		return c, err
	}
	defer body.Close()
	whole := &summed{r: body}
	m, err := layout.NewMetadataReader(whole)
	for err == nil {
		_, err = m.Next()
	}
	if err != io.EOF {
		return c, fmt.Errorf("the target's %s: %w", key, err)
	}
	c.Nonce, err = journal.ParseNonce(m.Header().Nonce)
	c.Size, c.CRC = whole.size, whole.sum
	return c, err
}

// rewrite writes a _metadata that differs from the source's by its nonce and by the places of its files.
func (j *job) rewrite(ctx context.Context, c journal.Checkpoint, content *contents, nonce journal.Nonce, key string) (size uint64, sum uint32, err error) {
	w, err := j.run.to.Store.Create(ctx, key, storage.CreateOptions{IfAbsent: true})
	if err != nil {
		return 0, 0, err
	}
	defer w.Abort()
	h := content.placer.header
	h.Nonce = nonce.String()
	out := layout.NewMetadataWriter(w, h)
	_, err = j.records(ctx, c, func(_ layout.Header, rec layout.Record) error {
		switch rec := rec.(type) {
		case *layout.Job:
			return out.WriteJob(*rec)
		case *layout.Operator:
			return out.WriteOperator(*rec)
		case *layout.File:
			to, _ := content.placer.place(rec)
			_, err := out.WriteFile(to)
			return err
		case *layout.Subtask:
			return out.WriteSubtask(*rec)
		}
		return fmt.Errorf("record %T: %w", rec, layout.ErrUnknownKind)
	})
	if err == nil {
		err = out.Close()
	}
	if err == nil {
		err = w.Commit()
	}
	return uint64(out.Size()), out.Sum(), err
}
