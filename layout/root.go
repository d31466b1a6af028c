package layout

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ckptd/ckptd/layout/storage"
)

// RootFormat is the format of the roots that this code makes; it covers everything drawn in the package comment.
const RootFormat = 1

var (
	// ErrNotRoot: there is no root marker.
	ErrNotRoot = errors.New("not a root of ckptd")
	// ErrUnfit: the store breaks the promise of Publish, so two owners could commit at the same time.
	ErrUnfit = storage.ErrUnfit
)

// Root is the content of the root marker, and how opening the root went.
type Root struct {
	// ID is random; no two roots have the same.
	ID string
	// Format of the root. LeastReader and LeastWriter are the least formats that a program must know to read, and to
	// write or delete.
	Format, LeastReader, LeastWriter uint32
	// Created is true if this OpenRoot made the root.
	Created bool
	// Probe of Publish; nil after ReadRoot.
	Probe *Probe
}

// String formats the root as one line for the log.
func (r Root) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "root %s, format %d", r.ID, r.Format)
	if r.Created {
		b.WriteString(", new")
	}
	if r.Probe != nil {
		fmt.Fprintf(&b, ", %v", r.Probe)
	}
	return b.String()
}

// OpenRoot opens a root for writing. It makes a root of an empty prefix. Several processes may open the same prefix
// at once.
//
// It refuses, in this order: a marker of a newer format (ErrNewerFormat), before anything is written; a prefix that
// has content but no marker (ErrNotRoot), naming the content; a store that fails the probe of Publish (ErrUnfit).
// Only then it writes the marker.
func OpenRoot(ctx context.Context, s storage.Store) (Root, error) {
	r, err := openRoot(ctx, s)
	if err != nil {
		return Root{}, fmt.Errorf("layout: open root: %w", err)
	}
	return r, nil
}

func openRoot(ctx context.Context, s storage.Store) (Root, error) {
	r, err := readMarker(ctx, s)
	fresh := errors.Is(err, storage.ErrNotFound)
	if fresh {
		r, fresh, err = checkEmpty(ctx, s)
	}
	if err != nil {
		return Root{}, err
	}
	if !fresh && r.LeastWriter > RootFormat {
		return Root{}, fmt.Errorf("needs a ckptd that writes format %d, this one writes %d: %w", r.LeastWriter, RootFormat, ErrNewerFormat)
	}
	removed, err := removeStale(ctx, s, fresh)
	if err != nil {
		return Root{}, err
	}
	probe, err := probePublish(ctx, s)
	if err != nil {
		return Root{}, err
	}
	if fresh {
		if r, err = writeMarker(ctx, s); err != nil {
			return Root{}, err
		}
	}
	probe.Removed = removed
	r.Probe = &probe
	return r, nil
}

// ReadRoot reads the marker and never writes. It is for tools that read a root without a daemon.
func ReadRoot(ctx context.Context, s storage.Store) (Root, error) {
	r, err := readMarker(ctx, s)
	if errors.Is(err, storage.ErrNotFound) {
		if _, _, err = checkEmpty(ctx, s); err == nil {
			err = fmt.Errorf("%w: nothing is there", ErrNotRoot)
		}
	}
	if err != nil {
		return Root{}, fmt.Errorf("layout: read root: %w", err)
	}
	return r, nil
}

// checkEmpty refuses content without a marker. If another process made the root meanwhile, it returns that root, and
// false.
func checkEmpty(ctx context.Context, s storage.Store) (Root, bool, error) {
	found, err := lookAround(ctx, s)
	if err != nil || len(found) == 0 {
		return Root{}, err == nil, err
	}
	r, err := readMarker(ctx, s)
	if !errors.Is(err, storage.ErrNotFound) {
		return r, false, err
	}
	return Root{}, false, fmt.Errorf("%w: there is no %s, but other things: %s", ErrNotRoot, RootMarkerKey, strings.Join(found, ", "))
}

// lookAround returns, in order, some names at the top of a root. It leaves out what does not count as content.
func lookAround(ctx context.Context, s storage.Store) (found []string, err error) {
	const names, objects = 5, 1000
	seen := map[string]bool{}
	looked := 0
	for info, err := range s.List(ctx, "") {
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(info.Key, ProbePrefix) || strings.HasPrefix(info.Key, TempPrefix) {
			continue
		}
		name, _, folder := strings.Cut(info.Key, "/")
		if folder {
			name += "/"
		}
		seen[name] = true
		if looked++; len(seen) > names || looked >= objects {
			break
		}
	}
	found = slices.Sorted(maps.Keys(seen))
	if len(found) > names {
		found = append(found[:names], "…")
	}
	return found, nil
}

// writeMarker publishes a marker, or reads the marker of another process that was faster.
func writeMarker(ctx context.Context, s storage.Store) (Root, error) {
	const tries, pause = 10, 100 * time.Millisecond
	mine := Root{ID: NewNonce(), Format: RootFormat, LeastReader: RootFormat, LeastWriter: RootFormat}
	for range tries {
		err := s.Publish(ctx, RootMarkerKey, formatMarker(mine))
		if err == nil || errors.Is(err, storage.ErrExists) {
			break
		}
		if !errors.Is(err, storage.ErrUnknown) {
			return Root{}, err
		}
		if err := sleep(ctx, pause); err != nil {
			return Root{}, err
		}
	}
	r, err := readMarker(ctx, s)
	if err != nil {
		return Root{}, err
	}
	r.Created = r.ID == mine.ID
	if !r.Created && r.LeastWriter > RootFormat {
		return Root{}, fmt.Errorf("needs a ckptd that writes format %d, this one writes %d: %w", r.LeastWriter, RootFormat, ErrNewerFormat)
	}
	return r, nil
}

// maxMarker bounds the bytes that are read of a marker.
const maxMarker = 4 << 10

func readMarker(ctx context.Context, s storage.Store) (Root, error) {
	data, err := readAll(ctx, s, RootMarkerKey, maxMarker)
	if err != nil {
		return Root{}, err
	}
	r, err := parseMarker(data)
	if err != nil {
		return Root{}, fmt.Errorf("%s: %w", RootMarkerKey, err)
	}
	return r, nil
}

// readAll reads a small object; it returns at most limit bytes.
func readAll(ctx context.Context, s storage.Store, key string, limit int64) ([]byte, error) {
	r, err := s.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, limit))
	return data, errors.Join(err, r.Close())
}

const (
	markerTitle = "ckptd root\n"
	markerSum   = "crc32c "
)

// formatMarker returns the marker's text: a title, a line for each field, and the CRC32C of these lines.
func formatMarker(r Root) []byte {
	text := fmt.Appendf(nil, "%sformat %d\nleast-reader %d\nleast-writer %d\nid %s\n", markerTitle, r.Format, r.LeastReader, r.LeastWriter, r.ID)
	return fmt.Appendf(text, "%s%08x\n", markerSum, crc32.Checksum(text, castagnoli))
}

// parseMarker accepts exactly what formatMarker returns. In a marker of a newer format it ignores lines that it does
// not know.
func parseMarker(data []byte) (Root, error) {
	text := string(data)
	if !strings.HasPrefix(text, markerTitle) {
		return Root{}, fmt.Errorf("%w: does not begin with %q", ErrCorrupt, strings.TrimSpace(markerTitle))
	}
	cut := strings.LastIndex(text, "\n"+markerSum) + 1
	if want := fmt.Sprintf("%s%08x\n", markerSum, crc32.Checksum(data[:cut], castagnoli)); text[cut:] != want {
		return Root{}, fmt.Errorf("%w: checksum", ErrCorrupt)
	}
	fields := map[string]string{}
	for line := range strings.Lines(text[len(markerTitle):cut]) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		fields[name] = value
	}
	r := Root{ID: fields["id"]}
	for name, to := range map[string]*uint32{"format": &r.Format, "least-reader": &r.LeastReader, "least-writer": &r.LeastWriter} {
		v, err := strconv.ParseUint(fields[name], 10, 32)
		if err != nil || v == 0 {
			return Root{}, fmt.Errorf("%w: %s %q", ErrCorrupt, name, fields[name])
		}
		*to = uint32(v)
	}
	if r.LeastReader > RootFormat {
		return Root{}, fmt.Errorf("needs a ckptd that reads format %d, this one reads %d: %w", r.LeastReader, RootFormat, ErrNewerFormat)
	}
	if err := ValidateNonce(r.ID); err != nil {
		return Root{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if r.Format <= RootFormat && text != string(formatMarker(r)) {
		return Root{}, fmt.Errorf("%w: not as it is written", ErrCorrupt)
	}
	return r, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
