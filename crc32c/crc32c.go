// Package crc32c computes the sums of ckptd: CRC-32 with Castagnoli's polynomial.
//
// It owns the one table, so that no two places can choose different polynomials. It must not know what is summed. Every package may import it.
package crc32c

import (
	"hash"
	"hash/crc32"
)

// Table is the table of every sum. It must not be changed.
var Table = crc32.MakeTable(crc32.Castagnoli)

// Sum is the sum of p.
func Sum(p []byte) uint32 { return crc32.Checksum(p, Table) }

// Update continues a sum over p; begin with 0.
func Update(sum uint32, p []byte) uint32 { return crc32.Update(sum, Table, p) }

// New gives a running sum.
func New() hash.Hash32 { return crc32.New(Table) }
