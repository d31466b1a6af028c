package kafka

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/ckptd/ckptd/runtime/state"
)

// position is a source's state, stored as JSON.
type position struct {
	Version int    `json:"version"`
	Topic   string `json:"topic"`
	// TopicID tells a topic from another one that had or gets the same name; empty if the brokers are too old to say.
	TopicID string `json:"topicId,omitempty"`
	// Index and Parallelism decide which partitions belong to the source.
	Index       int               `json:"index"`
	Parallelism int               `json:"parallelism"`
	Partitions  []partitionOffset `json:"partitions"`
	Records     uint64            `json:"records"`
}

// partitionOffset is how far one partition was read.
type partitionOffset struct {
	Partition int32 `json:"partition"`
	// Next is the offset of the next record.
	Next int64 `json:"next"`
	// End is where a bounded source stops; -1 if it does not.
	End int64 `json:"end"`
}

func (p position) encode() []byte {
	p.Version = 1
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // numbers and strings
	}
	return b
}

// decodePosition refuses what is no position.
func decodePosition(b []byte) (position, error) {
	var p position
	if err := state.UnmarshalStrict(b, &p); err != nil {
		return p, err
	}
	if p.Version != 1 {
		return p, fmt.Errorf("position of version %d; this program reads version 1", p.Version)
	}
	last := int32(-1)
	for _, one := range p.Partitions {
		if one.Partition <= last || one.Next < 0 || one.End < -1 || int(one.Partition)%max(p.Parallelism, 1) != p.Index {
			return p, fmt.Errorf("partition %d with offset %d and end %d after partition %d", one.Partition, one.Next, one.End, last)
		}
		last = one.Partition
	}
	return p, nil
}

// fits refuses a position of another input.
func (p position) fits(own position) error {
	switch {
	case p.Topic != own.Topic:
		return fmt.Errorf("the position is of topic %q; this source reads %q", p.Topic, own.Topic)
	case p.TopicID != "" && own.TopicID != "" && p.TopicID != own.TopicID:
		return fmt.Errorf("topic %q was deleted and created again since the checkpoint, so its offsets mean other records; begin without the checkpoint", p.Topic)
	case p.Index != own.Index || p.Parallelism != own.Parallelism:
		return fmt.Errorf("the position is of subtask %d of %d, this is subtask %d of %d; keep the parallelism of the source", p.Index, p.Parallelism, own.Index, own.Parallelism)
	}
	return nil
}

// reading is the partitions of a source, by number.
type reading map[int32]*partitionOffset

func (r reading) sorted() []partitionOffset {
	all := make([]partitionOffset, 0, len(r))
	for _, n := range slices.Sorted(maps.Keys(r)) {
		all = append(all, *r[n])
	}
	return all
}
