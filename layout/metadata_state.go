package layout

import (
	"errors"
	"fmt"
	"slices"
)

// CheckHandle checks one handle. The reader and the writer of a _metadata call it. A caller that takes handles from an
// engine calls it, too: a handle that it accepts can be written. length is that of the inline state or of the whole
// file; maxParallelism is the operator's.
func CheckHandle(h *Handle, length uint64, maxParallelism int) error {
	switch {
	case h.File != 0 && h.Inline != nil:
		return errors.New("both a file and inline state")
	case len(h.Inline) > MaxInline:
		return fmt.Errorf("%d bytes inline, at most %d", len(h.Inline), MaxInline)
	}
	if s := h.Segment; s != nil {
		if h.File == 0 {
			return errors.New("segment of no file")
		}
		if s.Offset > length || s.Length > length-s.Offset {
			return fmt.Errorf("segment of %d bytes from %d in a file of %d", s.Length, s.Offset, length)
		}
		length = s.Length
	}
	if err := checkText("name", h.Name); err != nil {
		return err
	}
	if err := checkText("instance nonce", h.InstanceNonce); err != nil {
		return err
	}
	if g := h.KeyGroups; g != nil && (g.Start > g.End || int(g.End) >= maxParallelism) {
		return fmt.Errorf("key groups %v of %d", g, maxParallelism)
	}
	return checkState(&h.State, h.KeyGroups != nil, length)
}

// stateRule says which fields state of a kind has.
type stateRule struct {
	name    string
	keyed   bool
	channel bool
	// modes are those that the offsets may have; none: state of the kind has no offsets.
	modes []Mode
}

// stateRules has the rule of each kind.
var stateRules = [...]stateRule{
	StateOpaque:             {name: "opaque"},
	StateManagedKeyed:       {name: "managed keyed", keyed: true},
	StateRawKeyed:           {name: "raw keyed", keyed: true},
	StateList:               {name: "list", modes: []Mode{ModeSplit}},
	StateUnion:              {name: "union", modes: []Mode{ModeUnion}},
	StateBroadcast:          {name: "broadcast", modes: []Mode{ModeBroadcast}},
	StateInputChannel:       {name: "input channel", channel: true, modes: []Mode{ModeNone}},
	StateResultSubpartition: {name: "result subpartition", channel: true, modes: []Mode{ModeNone}},
	StateSourceReader:       {name: "source reader", modes: []Mode{ModeSplit, ModeUnion, ModeBroadcast}},
	StateSinkTransactions:   {name: "sink transactions", modes: []Mode{ModeSplit, ModeUnion, ModeBroadcast}},
}

var modeNames = [...]string{ModeNone: "none", ModeSplit: "split", ModeUnion: "union", ModeBroadcast: "broadcast"}

// String is the kind in Flink's words.
func (k StateKind) String() string {
	if k < 0 || int(k) >= len(stateRules) {
		return fmt.Sprintf("kind %d", int(k))
	}
	return stateRules[k].name
}

// String is the mode in Flink's words.
func (m Mode) String() string {
	if m < 0 || int(m) >= len(modeNames) {
		return fmt.Sprintf("mode %d", int(m))
	}
	return modeNames[m]
}

// Keyed tells whether state of the kind has key groups.
func (k StateKind) Keyed() bool { return k >= 0 && int(k) < len(stateRules) && stateRules[k].keyed }

// checkState checks the description of a piece of length bytes.
func checkState(s *State, groups bool, length uint64) error {
	if s.Kind < 0 || int(s.Kind) >= len(stateRules) {
		return fmt.Errorf("no kind of state: %d", s.Kind)
	}
	rule := &stateRules[s.Kind]
	switch {
	case rule.keyed && !groups:
		return fmt.Errorf("%s state without key groups", s.Kind)
	case !rule.keyed && groups:
		return fmt.Errorf("%s state with key groups", s.Kind)
	case rule.channel && s.Channel == nil:
		return fmt.Errorf("%s state without its channel", s.Kind)
	case !rule.channel && s.Channel != nil:
		return fmt.Errorf("%s state with a channel", s.Kind)
	}
	if err := checkText("state name", s.Name); err != nil {
		return err
	}
	if err := checkText("serializer", s.Serializer); err != nil {
		return err
	}
	if c := s.Channel; c != nil {
		if s.Kind == StateInputChannel && (c.Partition != 0 || c.Subpartition != 0) {
			return errors.New("input channel state with a partition or subpartition")
		}
		if s.Kind == StateResultSubpartition && (c.Gate != 0 || c.Channel != 0) {
			return errors.New("result subpartition state with a gate or input channel")
		}
	}
	if s.Offsets == nil {
		return nil
	}
	return checkOffsets(s.Kind, rule, s.Offsets, length)
}

func checkOffsets(kind StateKind, rule *stateRule, o *Offsets, length uint64) error {
	if len(rule.modes) == 0 {
		return fmt.Errorf("%s state with offsets", kind)
	}
	if !slices.Contains(rule.modes, o.Mode) {
		return fmt.Errorf("%s state with offsets of mode %s", kind, o.Mode)
	}
	if len(o.Positions) > MaxOffsets {
		return fmt.Errorf("%d offsets, at most %d", len(o.Positions), MaxOffsets)
	}
	before := uint64(0)
	for i, p := range o.Positions {
		if p < before || p > length {
			return fmt.Errorf("offset %d is %d after %d, in a piece of %d bytes: want them to ascend", i, p, before, length)
		}
		before = p
	}
	return nil
}

// checkCompression checks the frame table of a file of length bytes; nil: the file is not compressed.
func checkCompression(c *Compression, length uint64) error {
	if c == nil {
		return nil
	}
	if !isCodec(c.Codec) {
		return fmt.Errorf("codec %q: want 1 to %d of a-z 0-9 -", clip(c.Codec), maxCodec)
	}
	if len(c.Stored) != len(c.Plain) {
		return fmt.Errorf("frame table with the sizes of %d frames as stored and of %d decompressed", len(c.Stored), len(c.Plain))
	}
	if len(c.Stored) > MaxFrames {
		return fmt.Errorf("%d frames, at most %d", len(c.Stored), MaxFrames)
	}
	sum := uint64(0)
	for i, n := range c.Stored {
		if n == 0 {
			return fmt.Errorf("frame %d takes no bytes", i)
		}
		sum += uint64(n)
	}
	if sum != length {
		return fmt.Errorf("frames of %d bytes in a file of %d", sum, length)
	}
	return nil
}

func isCodec(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= maxCodec
}
