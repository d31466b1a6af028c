package main

import (
	"cmp"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/service/config"
)

// restoreOptions are the flags about the checkpoint that a new job begins from, with Flink's letters.
type restoreOptions struct {
	from, claimMode string
	allow           bool
}

func (o *restoreOptions) flags(f *pflag.FlagSet) {
	f.StringVarP(&o.from, "restore-from", "s", "", "`checkpoint` that a new job begins from: JOB/chk-42, or the path or URL of its folder or _metadata, under the daemon's root")
	o.claimFlag(f)
	f.BoolVarP(&o.allow, "allow-non-restored-state", "n", false, "leave out state whose operator the job does not have")
}

func (o *restoreOptions) claimFlag(f *pflag.FlagSet) {
	f.StringVar(&o.claimMode, "claim-mode", "", "who owns that checkpoint afterwards; NO_CLAIM: the job that made it; CLAIM: the new job (default NO_CLAIM)")
}

// claims tells whether the new job gets the checkpoint's files.
func (o *restoreOptions) claims(file config.Recovery) (bool, error) {
	if o.claimMode == "" {
		return file.Claim, nil
	}
	claim, err := config.ClaimMode(o.claimMode)
	if err != nil {
		return false, exit.Usagef("--claim-mode: %w", err)
	}
	return claim, nil
}

// apply sets the checkpoint of a job. file has the keys of a configuration file; a flag wins over its key.
func (o *restoreOptions) apply(spec *client.JobSpec, file config.Recovery) error {
	claim, err := o.claims(file)
	if err != nil {
		return err
	}
	if claim {
		spec.ClaimMode = client.Claim
	}
	spec.RestoreFrom, spec.AllowNonRestoredState = cmp.Or(o.from, file.Path), o.allow || file.IgnoreUnclaimed
	if at := spec.RestoreFrom; strings.HasPrefix(at, "/") || strings.HasPrefix(at, ".") || strings.Contains(at, ":") {
		place, err := drivers.Normal(at) // the daemon has another working folder
		if err != nil {
			return exit.Usagef("--restore-from: %w", err)
		}
		spec.RestoreFrom = place
	}
	return nil
}
