package config

import (
	"fmt"
	"strings"
)

// Recovery says which checkpoint a new job begins from.
type Recovery struct {
	// Path or URL of the checkpoint; empty: the job begins without state.
	Path string
	// IgnoreUnclaimed leaves out state whose operator the job does not have.
	IgnoreUnclaimed bool
}

// recovering returns the keys about the checkpoint that a new job begins from. They are of one start of one job, so they
// are no part of its configuration, and nothing prints them.
func recovering() []option {
	const recovery, savepoint = "execution.state-recovery.", "execution.savepoint"
	return []option{
		{key: recovery + "path", old: []string{savepoint + ".path"}, get: nothing,
			set: func(f *File, v string) error { f.Recovery.Path = v; return nil }},
		{key: recovery + "claim-mode", old: []string{savepoint + "-restore-mode"}, get: nothing,
			set: func(_ *File, v string) error { return ClaimMode(v) }},
		{key: recovery + "ignore-unclaimed-state", old: []string{savepoint + ".ignore-unclaimed-state"}, get: nothing, set: setIgnoreUnclaimed},
	}
}

// ClaimMode checks a claim mode, as Flink spells it.
func ClaimMode(v string) error {
	switch strings.ToUpper(v) {
	case "NO_CLAIM":
		return nil
	case "CLAIM", "LEGACY":
		return fmt.Errorf("ckptd does not have the value %q; allowed is NO_CLAIM: the checkpoint stays with the job that made it", v)
	}
	return fmt.Errorf("%q is unknown; allowed is NO_CLAIM", v)
}

func setIgnoreUnclaimed(f *File, v string) error {
	switch strings.ToLower(v) {
	case "true", "false":
		f.Recovery.IgnoreUnclaimed = strings.EqualFold(v, "true")
		return nil
	}
	return fmt.Errorf("%q is unknown; allowed is true or false", v)
}
