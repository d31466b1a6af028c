package history

import (
	"encoding/binary"

	"github.com/ckptd/ckptd/crc32c"
)

// Framed puts a preamble and a sum around any payload, so that the fuzzer reaches what is behind them.
func Framed(payload []byte) []byte {
	b := append([]byte(magic), 1, 0, 0, 0, 1, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32c.Sum(b))
	b = append(b, payload...)
	return binary.LittleEndian.AppendUint32(b, crc32c.Sum(b))
}
