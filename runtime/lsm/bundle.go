package lsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout/keygroup"
)

// BundleName is the name of a snapshot's exclusive file; all other files are tables.
const BundleName = "lsm"

// ErrCorrupt is in the chain of the error for restored files that are not a whole snapshot: damaged, missing, too
// many, of another kind.
var ErrCorrupt = errors.New("not a snapshot of this backend, or damaged")

// bundle is the exclusive file of a snapshot: the tree's own small files, and the list of the tables that belong to
// them.
//
// Its bytes are: magic; first and last key group (2 bytes each, big-endian); the tree's files: their number, then
// name and content of each; the tables: their number, then name and size of each; CRC32C of all that (4 bytes).
// Numbers and lengths are uvarints.
type bundle struct {
	groups    keygroup.Range
	treeFiles []treeFile
	tables    []table
}

type treeFile struct {
	name    string
	content []byte
}

type table struct {
	name string
	size int64
}

const magic = "ckptd-lsm-1\n"

// Names become paths on restore, so only these are accepted.
var (
	treeFileName = regexp.MustCompile(`^(MANIFEST-[0-9]{6,}|marker\.[a-z-]+\.[0-9]{6,}\.[A-Za-z0-9-]+)$`)
	tableName    = regexp.MustCompile(`^[0-9]{6,}\.(sst|blob)$`)
)

func (b *bundle) encode() []byte {
	p := []byte(magic)
	p = binary.BigEndian.AppendUint16(p, b.groups.Start)
	p = binary.BigEndian.AppendUint16(p, b.groups.End)
	p = binary.AppendUvarint(p, uint64(len(b.treeFiles)))
	for _, f := range b.treeFiles {
		p = appendBytes(appendBytes(p, []byte(f.name)), f.content)
	}
	p = binary.AppendUvarint(p, uint64(len(b.tables)))
	for _, t := range b.tables {
		p = binary.AppendUvarint(appendBytes(p, []byte(t.name)), uint64(t.size))
	}
	return binary.BigEndian.AppendUint32(p, crc32c.Sum(p))
}

func decodeBundle(p []byte) (*bundle, error) {
	if len(p) < len(magic)+8 || string(p[:len(magic)]) != magic {
		return nil, fmt.Errorf("%s: wrong magic: %w", BundleName, ErrCorrupt)
	}
	body, sum := p[:len(p)-4], binary.BigEndian.Uint32(p[len(p)-4:])
	if crc32c.Sum(body) != sum {
		return nil, fmt.Errorf("%s: checksum differs: %w", BundleName, ErrCorrupt)
	}
	d := &decoder{p: body[len(magic):]}
	b := &bundle{groups: keygroup.Range{Start: d.uint16(), End: d.uint16()}}
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		b.treeFiles = append(b.treeFiles, treeFile{name: string(d.bytes()), content: d.bytes()})
		d.bad = d.bad || !treeFileName.MatchString(b.treeFiles[len(b.treeFiles)-1].name)
	}
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		b.tables = append(b.tables, table{name: string(d.bytes()), size: int64(d.uvarint())})
		d.bad = d.bad || !tableName.MatchString(b.tables[len(b.tables)-1].name)
	}
	if d.bad || len(d.p) != 0 {
		return nil, fmt.Errorf("%s: malformed: %w", BundleName, ErrCorrupt)
	}
	return b, nil
}

func appendBytes(dst, p []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(p))), p...)
}

// decoder consumes fields of p; bad is set once they do not fit.
type decoder struct {
	p   []byte
	bad bool
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.p)) {
		d.bad = true
		return nil
	}
	p := d.p[:n]
	d.p = d.p[n:]
	return p
}

func (d *decoder) uint16() uint16 {
	if p := d.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.p)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.p = d.p[n:]
	return v
}

func (d *decoder) bytes() []byte { return d.take(d.uvarint()) }
