package layout

import (
	"fmt"
	"strconv"
	"strings"
)

// HistoryName is the name of a segment of a job's history. It is never used twice, and it tells what lies in the segment: a list of
// the folder is enough to find a checkpoint, and to choose what is dropped.
//
// Its text is <first>-<last>-<records>-<epoch>-<sequence>-<nonce>. The first id has 20 digits, so that names sort like their ids.
type HistoryName struct {
	// First and Last are the lowest and the highest checkpoint id in the segment, Records the number of its records. All are 0 in a
	// segment that has counts only.
	First, Last, Records uint64
	// Epoch of the owner that wrote the segment. Sequence orders the segments of an epoch by what they knew.
	Epoch, Sequence uint64
	// Nonce makes the name unique: 26 characters, from NewNonce.
	Nonce string
}

// maxHistoryName is the length of the longest name: five numbers of 20 digits.
const maxHistoryName = 5*21 + nonceLen

// String returns the name's text, for a valid Nonce; it is the inverse of ParseHistoryName.
func (n HistoryName) String() string {
	return fmt.Sprintf("%0*d-%d-%d-%d-%d-%s", slotDigits, n.First, n.Last, n.Records, n.Epoch, n.Sequence, n.Nonce)
}

// ParseHistoryName parses exactly the names that String returns.
func ParseHistoryName(s string) (HistoryName, error) {
	n, ok := parseHistoryName(s)
	if !ok {
		return HistoryName{}, fmt.Errorf("layout: history segment %q: %w", clip(s), ErrName)
	}
	return n, nil
}

func parseHistoryName(s string) (n HistoryName, ok bool) {
	parts := strings.Split(s, "-")
	if len(s) > maxHistoryName || len(parts) != 6 || ValidateNonce(parts[5]) != nil {
		return n, false
	}
	var err error
	if n.First, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return n, false
	}
	for i, to := range []*uint64{&n.Last, &n.Records, &n.Epoch, &n.Sequence} {
		if *to, ok = parseNumber(parts[i+1]); !ok {
			return n, false
		}
	}
	n.Nonce = parts[5]
	return n, n.String() == s
}

// HistoryPrefix returns the prefix of a job's history.
func HistoryPrefix(job string) string { return job + "/" + historyFolder }

// HistoryKey returns the key of a segment of a job's history.
func HistoryKey(job string, n HistoryName) string { return HistoryPrefix(job) + n.String() }
