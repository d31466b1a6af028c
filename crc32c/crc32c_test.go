package crc32c_test

import (
	"testing"

	"github.com/ckptd/ckptd/crc32c"
)

// The check value of CRC-32C, as RFC 3720 and the catalogues of CRCs have it.
func TestPolynomial(t *testing.T) {
	const want = 0xe3069283
	p := []byte("123456789")
	h := crc32c.New()
	h.Write(p)
	for name, got := range map[string]uint32{"Sum": crc32c.Sum(p), "Update": crc32c.Update(crc32c.Update(0, p[:4]), p[4:]), "New": h.Sum32()} {
		if got != want {
			t.Errorf("%s: %08x, want %08x", name, got, want)
		}
	}
}
