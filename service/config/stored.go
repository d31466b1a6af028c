package config

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/retention"
	"github.com/ckptd/ckptd/service/owner"
)

// Encode checks a configuration, fills in every default, and returns the form that the journal keeps.
func Encode(c *ckptdv1.JobConfig) (*journal.Config, error) {
	j, err := Effective(c)
	if err != nil {
		return nil, err
	}
	m, err := j.message()
	if err != nil {
		return nil, err
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("config: encode: %w", err)
	}
	return journal.NewConfig(b), nil
}

// Interpret reads the journal's configuration. An error means that a newer ckptd wrote a value that this one does not
// understand. A key that this ckptd does not know stays in the journal and has no effect here.
func Interpret(c *journal.Config) (Job, error) {
	var m ckptdv1.JobConfig
	if err := proto.Unmarshal(c.Bytes, &m); err != nil {
		return Job{}, fmt.Errorf("config: the journal's configuration cannot be read: %w", err)
	}
	return Effective(&m)
}

// InEffect returns the journal's configuration as the API's message, with every default filled in.
func InEffect(c *journal.Config) (*ckptdv1.JobConfig, error) {
	j, err := Interpret(c)
	if err != nil {
		return nil, err
	}
	return j.message()
}

// Policies returns what reads the owner machine's policy out of a journal's configuration. trash is how long a removed checkpoint can
// be brought back in a job whose configuration does not say it.
func Policies(trash time.Duration) func(*journal.Config) (owner.Policy, bool) {
	return func(c *journal.Config) (owner.Policy, bool) { return policy(c, trash) }
}

// policy returns false if this ckptd does not understand the configuration.
func policy(c *journal.Config, trash time.Duration) (owner.Policy, bool) {
	j, err := Interpret(c)
	if err != nil {
		return owner.Policy{}, false
	}
	if j.Trash != nil {
		trash = *j.Trash
	}
	if j.InMemory {
		// The end of the job frees its memory. What is retained beyond it would be lost with the daemon.
		return owner.Policy{NumRetained: uint32(j.NumRetained)}, true
	}
	p := owner.Policy{NumRetained: uint32(j.NumRetained), Trash: uint64(trash.Milliseconds())}
	switch j.Retention {
	case ckptdv1.Retention_RETENTION_RETAIN_ON_CANCELLATION:
		p.Retention = retention.OnCancellation
	case ckptdv1.Retention_RETENTION_DELETE_ON_CANCELLATION:
		p.Retention = retention.OnFailure
	}
	return p, true
}

// Difference is a key to which two configurations give different values. An empty value means that the other keys of
// the configuration make this key meaningless.
type Difference struct{ Key, InEffect, Asked string }

// Differences compares the values in effect of two configurations, key by key.
func Differences(inEffect, asked *journal.Config) ([]Difference, error) {
	if inEffect.Hash == asked.Hash {
		return nil, nil
	}
	a, err := Interpret(inEffect)
	if err != nil {
		return nil, err
	}
	b, err := Interpret(asked)
	if err != nil {
		return nil, err
	}
	var out []Difference
	for _, o := range options() {
		if d := (Difference{o.key, o.text(a), o.text(b)}); d.InEffect != d.Asked {
			out = append(out, d)
		}
	}
	return out, nil
}

// text returns the value of a key as a file gives it. It is empty if the other keys make this key meaningless.
func (o option) text(j Job) string {
	v := o.get("", j)
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// message returns the configuration as the API's message, with every key set to its value in effect.
func (j Job) message() (*ckptdv1.JobConfig, error) {
	f := &File{Job: &ckptdv1.JobConfig{}}
	for _, o := range options() {
		v := o.text(j)
		if v == "" {
			continue
		}
		if err := o.set(f, v); err != nil {
			return nil, fmt.Errorf("config: %s: %w", o.key, err)
		}
	}
	return f.Job, nil
}
