package config

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// WithDefaults returns the configuration of a new job: what the job asks for, and the daemon's defaults for the keys
// that it leaves out. A restart strategy is taken as a whole. A number 0 counts as left out.
func WithDefaults(asked, defaults *ckptdv1.JobConfig) *ckptdv1.JobConfig {
	return fill(asked, defaults, defaults)
}

// KeepDefaulted returns the configuration that a caller asks of a job that exists. A key that the caller leaves out and
// the daemon has a default for keeps its value in effect. So a changed default changes no job that exists.
func KeepDefaulted(asked, defaults, inEffect *ckptdv1.JobConfig) *ckptdv1.JobConfig {
	return fill(asked, defaults, inEffect)
}

// fill returns asked with the fields of from that asked leaves out and defaults has.
func fill(asked, defaults, from *ckptdv1.JobConfig) *ckptdv1.JobConfig {
	if defaults == nil {
		return asked
	}
	out := &ckptdv1.JobConfig{}
	if asked != nil {
		out = proto.CloneOf(asked)
	}
	source := proto.CloneOf(from).ProtoReflect()
	defaults.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if to := out.ProtoReflect(); !to.Has(field) && source.Has(field) {
			to.Set(field, source.Get(field))
		}
		return true
	})
	return out
}
