package layouttest

import (
	"bytes"
	"encoding/binary"

	"github.com/ckptd/ckptd/crc32c"
)

// Preamble is the length of what comes before the records of a _metadata.
const Preamble = 16

// Reframe changes the records of a _metadata, and gives them sums that fit: it makes a hostile _metadata out of a good one.
func Reframe(good []byte, change func(payload []byte) []byte) []byte {
	out, chain := bytes.Clone(good[:Preamble]), uint32(0)
	for rest := good[Preamble:]; len(rest) > 0; {
		n := 4 + binary.LittleEndian.Uint32(rest)
		payload := change(bytes.Clone(rest[4:n]))
		rest = rest[n+4:]
		frame := append(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))), payload...)
		chain = crc32c.Update(chain, frame)
		out = binary.LittleEndian.AppendUint32(append(out, frame...), chain)
	}
	return out
}
