// Package auditlog keeps a record of what people have deleted: one object below _audit/ for each batch of deletes, written
// before the batch is issued. An object holds JSON lines, one for each name (AuditEntry of the API).
//
// It owns the names and the form of these objects. It must not know who deletes what, or why.
package auditlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// Kept is how long a record is kept.
const Kept = 90 * 24 * time.Hour

// stamp is the time in a record's name: names sort like times.
const stamp = "20060102T150405.000000Z"

const suffix = ".jsonl"

// maxLine bounds one line that is read.
const maxLine = 64 << 10

// Write records a batch. It returns when the record is durable.
func Write(ctx context.Context, s storage.Store, entries []*ckptdv1.AuditEntry) error {
	if len(entries) == 0 {
		return nil
	}
	key := layout.AuditPrefix + entries[0].GetTime().AsTime().Format(stamp) + "-" + layout.NewNonce() + suffix
	w, err := s.Create(ctx, key, storage.CreateOptions{IfAbsent: true})
	if err != nil {
		return fmt.Errorf("audit: write %s: %w", key, err)
	}
	for _, e := range entries {
		line, err := protojson.Marshal(e)
		if err == nil {
			_, err = w.Write(append(line, '\n'))
		}
		if err != nil {
			w.Abort()
			return fmt.Errorf("audit: write %s: %w", key, err)
		}
	}
	if err := w.Commit(); err != nil {
		return fmt.Errorf("audit: write %s: %w", key, err)
	}
	return nil
}

// Read passes all records to f, the oldest first. A record that is being written, or that a store shows in part, ends at
// its last whole line.
func Read(ctx context.Context, s storage.Store, f func(*ckptdv1.AuditEntry) error) error {
	for info, err := range s.List(ctx, layout.AuditPrefix) {
		if err != nil {
			return fmt.Errorf("audit: list %s: %w", layout.AuditPrefix, err)
		}
		if _, ok := timeOf(info.Key); !ok {
			continue
		}
		if err := read(ctx, s, info.Key, f); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("audit: read %s: %w", info.Key, err)
		}
	}
	return nil
}

func read(ctx context.Context, s storage.Store, key string, f func(*ckptdv1.AuditEntry) error) error {
	body, err := s.Open(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	r := bufio.NewReaderSize(body, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e := &ckptdv1.AuditEntry{}
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(line, e); err != nil {
			return err
		}
		if err := f(e); err != nil {
			return err
		}
	}
}

// TrimOld is Trim at the time of the store.
func TrimOld(ctx context.Context, s storage.Store) (int, error) {
	now, err := layout.StoreTime(ctx, s)
	if err != nil {
		return 0, fmt.Errorf("audit: %w", err)
	}
	return Trim(ctx, s, now)
}

// Trim deletes the records that are older than Kept at the time now. It returns how many it has deleted.
func Trim(ctx context.Context, s storage.Store, now time.Time) (int, error) {
	var old []string
	for info, err := range s.List(ctx, layout.AuditPrefix) {
		if err != nil {
			return 0, fmt.Errorf("audit: list %s: %w", layout.AuditPrefix, err)
		}
		if at, ok := timeOf(info.Key); ok && now.Sub(at) > Kept && now.Sub(info.ModTime) > Kept {
			old = append(old, info.Key)
		}
	}
	if len(old) == 0 {
		return 0, nil
	}
	return len(old), errors.Join(s.Delete(ctx, old)...)
}

// timeOf is the time in a record's name.
func timeOf(key string) (time.Time, bool) {
	name, ok := strings.CutSuffix(strings.TrimPrefix(key, layout.AuditPrefix), suffix)
	at, nonce, cut := strings.Cut(name, "-")
	t, err := time.Parse(stamp, at)
	return t, ok && cut && err == nil && layout.ValidateNonce(nonce) == nil
}
