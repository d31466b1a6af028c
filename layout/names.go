package layout

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/ckptd/ckptd/crc32c"
)

// ErrName is in the chain of every error about a name that ckptd does not give.
var ErrName = errors.New("not a valid name")

// castagnoli is the polynomial of every sum in ckptd.
var castagnoli = crc32c.Table

// maxID is the longest job or operator id, in bytes.
const maxID = 128

// ValidateJobID returns an error unless id is 1 to 128 of A-Z a-z 0-9 . _ - and does not start with "." or "_" or
// "savepoint-".
func ValidateJobID(id string) error {
	if err := validateID(id); err != nil {
		return fmt.Errorf("layout: job id %q: %w: %w", clip(id), err, ErrName)
	}
	for _, p := range []string{".", "_", savepointPrefix} {
		if strings.HasPrefix(id, p) {
			return fmt.Errorf("layout: job id %q: starts with %q: %w", clip(id), p, ErrName)
		}
	}
	return nil
}

// ValidateOperatorID returns an error unless id is 1 to 128 of A-Z a-z 0-9 . _ -
func ValidateOperatorID(id string) error {
	if err := validateID(id); err != nil {
		return fmt.Errorf("layout: operator id %q: %w: %w", clip(id), err, ErrName)
	}
	return nil
}

func validateID(id string) error {
	if id == "" || len(id) > maxID {
		return fmt.Errorf("has %d characters, want 1 to %d", len(id), maxID)
	}
	for i := range len(id) {
		c := id[i]
		if !isDigit(c) && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' && c != '_' && c != '-' {
			return fmt.Errorf("contains %q, want A-Z a-z 0-9 . _ -", c)
		}
	}
	return nil
}

// clip keeps error messages about hostile names short.
func clip(s string) string {
	if len(s) <= maxID {
		return s
	}
	return s[:maxID] + "…"
}

// NewJobID returns a new job id: 32 random hex digits.
func NewJobID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// nonceLen is the number of characters of a nonce.
const nonceLen = 26

var nonceEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewNonce returns 26 characters of lower-case base32 from 128 random bits. No two nonces are the same.
func NewNonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return NonceOf(b)
}

// NonceOf returns the nonce that 128 bits make.
func NonceOf(bits [16]byte) string { return nonceEncoding.EncodeToString(bits[:]) }

// ValidateNonce returns an error unless nonce has the form that NewNonce gives.
func ValidateNonce(nonce string) error {
	if len(nonce) != nonceLen {
		return fmt.Errorf("layout: nonce %q: has %d characters, want %d: %w", clip(nonce), len(nonce), nonceLen, ErrName)
	}
	for i := range len(nonce) {
		if c := nonce[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return fmt.Errorf("layout: nonce %q: contains %q: %w", nonce, c, ErrName)
		}
	}
	return nil
}

// FileName is the name of a state file. It is never used twice, and it tells which process wrote the file for which
// checkpoint.
//
// Its text is <2 hex>-<epoch>-<checkpoint>-<nonce>-<sequence>. The two digits follow from the rest; they spread the
// names over an object store's partitions.
type FileName struct {
	// Epoch in which, and Checkpoint for which, the file was written.
	Epoch, Checkpoint uint64
	// Nonce of the writing process: 26 characters, from NewNonce.
	Nonce string
	// Sequence counts the files of the writing process.
	Sequence uint64
}

const hexDigits = "0123456789abcdef"

// maxFileName is the length of the longest file name: three numbers of 20 digits.
const maxFileName = 3 + 20 + 1 + 20 + 1 + nonceLen + 1 + 20

// String returns the name's text, for a valid Nonce; it is the inverse of ParseFileName.
func (n FileName) String() string {
	return string(n.AppendTo(make([]byte, 0, maxFileName)))
}

// AppendTo appends the name's text to b.
func (n FileName) AppendTo(b []byte) []byte {
	start := len(b)
	b = append(b, "00-"...)
	b = strconv.AppendUint(b, n.Epoch, 10)
	b = append(b, '-')
	b = strconv.AppendUint(b, n.Checkpoint, 10)
	b = append(b, '-')
	b = append(b, n.Nonce...)
	b = append(b, '-')
	b = strconv.AppendUint(b, n.Sequence, 10)
	h := spread(b[start+3:])
	b[start], b[start+1] = hexDigits[h>>4], hexDigits[h&15]
	return b
}

// spread returns the byte that the two hex digits show: FNV-1a of the rest of the name, folded.
func spread[T []byte | string](rest T) byte {
	h := uint32(2166136261)
	for i := range len(rest) {
		h = (h ^ uint32(rest[i])) * 16777619
	}
	return byte(h ^ h>>8 ^ h>>16 ^ h>>24)
}

// ParseFileName parses exactly the names that String returns.
func ParseFileName(s string) (FileName, error) {
	n, ok := parseFileName(s)
	if !ok {
		return FileName{}, fmt.Errorf("layout: file name %q: %w", clip(s), ErrName)
	}
	return n, nil
}

func parseFileName(s string) (n FileName, ok bool) {
	if len(s) > maxFileName || len(s) < 3 || s[2] != '-' {
		return n, false
	}
	epoch, rest, ok1 := strings.Cut(s[3:], "-")
	checkpoint, rest, ok2 := strings.Cut(rest, "-")
	nonce, sequence, ok3 := strings.Cut(rest, "-")
	if !ok1 || !ok2 || !ok3 || ValidateNonce(nonce) != nil {
		return n, false
	}
	n.Nonce = nonce
	n.Epoch, ok1 = parseNumber(epoch)
	n.Checkpoint, ok2 = parseNumber(checkpoint)
	n.Sequence, ok3 = parseNumber(sequence)
	if !ok1 || !ok2 || !ok3 {
		return n, false
	}
	h := spread(s[3:])
	return n, s[0] == hexDigits[h>>4] && s[1] == hexDigits[h&15]
}

// parseNumber accepts exactly what FormatUint returns in base 10.
func parseNumber(s string) (uint64, bool) {
	if s == "" || s[0] == '0' && len(s) > 1 {
		return 0, false
	}
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, false
		}
	}
	v, err := strconv.ParseUint(s, 10, 64)
	return v, err == nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
