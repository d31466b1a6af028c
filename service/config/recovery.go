package config

import (
	"fmt"
	"strings"
)

// Recovery says which checkpoint a new job begins from.
type Recovery struct {
	// Path or URL of the checkpoint; empty: the job begins without state.
	Path string
	// Claim gives the files of the checkpoint to the new job.
	Claim bool
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
			set: func(f *File, v string) (err error) { f.Recovery.Claim, err = ClaimMode(v); return err }},
		{key: recovery + "ignore-unclaimed-state", old: []string{savepoint + ".ignore-unclaimed-state"}, get: nothing, set: setIgnoreUnclaimed},
	}
}

// ClaimMode reads a claim mode, as Flink spells it.
func ClaimMode(v string) (claim bool, err error) {
	const allowed = "allowed is NO_CLAIM (the checkpoint stays with the job that made it) or CLAIM (the new job gets its files)"
	switch strings.ToUpper(v) {
	case "NO_CLAIM":
		return false, nil
	case "CLAIM":
		return true, nil
	case "LEGACY":
		return false, fmt.Errorf("ckptd does not have the value %q; %s", v, allowed)
	}
	return false, fmt.Errorf("%q is unknown; %s", v, allowed)
}

func setIgnoreUnclaimed(f *File, v string) error {
	switch strings.ToLower(v) {
	case "true", "false":
		f.Recovery.IgnoreUnclaimed = strings.EqualFold(v, "true")
		return nil
	}
	return fmt.Errorf("%q is unknown; allowed is true or false", v)
}
