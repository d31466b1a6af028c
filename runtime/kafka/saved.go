package kafka

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/ckptd/ckptd/runtime/state"
)

// savedState is a sink's state, stored as JSON.
type savedState struct {
	Version      int           `json:"version"`
	Transactions []transaction `json:"transactions"`
}

// transaction is a pre-committed transaction.
type transaction struct {
	ID         string `json:"id"`
	ProducerID int64  `json:"producerId"`
	Epoch      int16  `json:"epoch"`
	Checkpoint uint64 `json:"checkpoint"`
	Records    uint64 `json:"records"`
	Topic      string `json:"topic"`
	// Partition and Offset are of one record of the transaction: the first one in its partition.
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// String returns the name for messages.
func (t transaction) String() string {
	return fmt.Sprintf("transaction %s of checkpoint %d (producer id %d, epoch %d, %d records)", t.ID, t.Checkpoint, t.ProducerID, t.Epoch, t.Records)
}

func encodeState(all []transaction) []byte {
	if len(all) == 0 {
		return nil
	}
	b, err := json.Marshal(savedState{Version: 1, Transactions: all})
	if err != nil {
		panic(err) // numbers and strings
	}
	return b
}

// decodeState refuses a state that no sink can have saved, because the state decides which records become visible.
func decodeState(b []byte, restored uint64) ([]transaction, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var saved savedState
	if err := state.UnmarshalStrict(b, &saved); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if saved.Version != 1 {
		return nil, fmt.Errorf("state of version %d; this program reads version 1", saved.Version)
	}
	last := uint64(0)
	for i, t := range saved.Transactions {
		if t.Checkpoint > restored || i > 0 && t.Checkpoint <= last || !strings.HasPrefix(t.ID, "ckptd/") || t.ProducerID < 0 || t.Epoch < 0 || t.Topic == "" {
			return nil, fmt.Errorf("the state names an impossible %v after checkpoint %d", t, last)
		}
		last = t.Checkpoint
	}
	return saved.Transactions, nil
}
