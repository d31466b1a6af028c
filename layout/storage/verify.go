package storage

import (
	"fmt"

	"github.com/ckptd/ckptd/crc32c"
)

// Verifier compares the bytes that a driver's Writer is given with CreateOptions. Every driver uses it, so that
// Commit refuses the same mistakes everywhere. The sum is computed only if CreateOptions announced one.
type Verifier struct {
	opts CreateOptions
	size int64
	sum  uint32
}

// NewVerifier returns a Verifier that has seen no bytes.
func NewVerifier(opts CreateOptions) Verifier {
	return Verifier{opts: opts}
}

// Add takes the next bytes. It fails as soon as there are more bytes than announced.
func (v *Verifier) Add(p []byte) error {
	v.size += int64(len(p))
	if v.opts.HasSize && v.size > v.opts.Size {
		return fmt.Errorf("%w: more than %d bytes", ErrMismatch, v.opts.Size)
	}
	if v.opts.HasCRC32C {
		v.sum = crc32c.Update(v.sum, p)
	}
	return nil
}

// Size returns the number of bytes so far.
func (v *Verifier) Size() int64 { return v.size }

// Check is called by Commit. It fails unless all announced bytes have come, with the announced sum.
func (v *Verifier) Check() error {
	if v.opts.HasSize && v.size != v.opts.Size {
		return fmt.Errorf("%w: %d bytes, announced %d", ErrMismatch, v.size, v.opts.Size)
	}
	if v.opts.HasCRC32C && v.sum != v.opts.CRC32C {
		return fmt.Errorf("%w: CRC32C %08x, announced %08x", ErrMismatch, v.sum, v.opts.CRC32C)
	}
	return nil
}
