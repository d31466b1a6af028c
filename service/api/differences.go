package api

import (
	"fmt"
	"strings"

	"github.com/ckptd/ckptd/layout/journal"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/config"
	"github.com/ckptd/ckptd/service/owner"
)

// differences lists how the plan and the configuration that a caller wants differ from those in effect.
func differences(op *owner.Op) (plan, keys []*ckptdv1.Difference) {
	if op.Plan != nil {
		plan = planDifferences(op.Head.Plan, op.Plan)
	}
	if op.Config != nil {
		keys = configDifferences(op.Head.Config, op.Config)
	}
	return plan, keys
}

// DifferencesText lists, for people, how the plan and the configuration that a caller wants differ from those in
// effect.
func DifferencesText(op *owner.Op) string {
	plan, keys := differences(op)
	return text(append(plan, keys...))
}

func text(all []*ckptdv1.Difference) string {
	texts := make([]string, 0, len(all))
	for _, d := range all {
		texts = append(texts, fmt.Sprintf("%s: %s is in effect, %s is asked for", d.GetKey(), orNone(d.GetInEffect()), orNone(d.GetAsked())))
	}
	return strings.Join(texts, "; ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// configDifferences compares two configurations key by key.
func configDifferences(inEffect, asked *journal.Config) (out []*ckptdv1.Difference) {
	keys, _ := config.Differences(inEffect, asked) // never fails: WantedIn and the owner machine have interpreted both
	for _, d := range keys {
		out = append(out, &ckptdv1.Difference{Key: d.Key, InEffect: d.InEffect, Asked: d.Asked})
	}
	return out
}

// planDifferences compares two plans operator by operator.
func planDifferences(inEffect, asked *journal.Plan) []*ckptdv1.Difference {
	if inEffect.Hash() == asked.Hash() {
		return nil
	}
	var out []*ckptdv1.Difference
	add := func(key, a, b string) {
		if a != b {
			out = append(out, &ckptdv1.Difference{Key: key, InEffect: a, Asked: b})
		}
	}
	for i := range inEffect.Operators {
		a := &inEffect.Operators[i]
		key := "plan: operator " + a.ID
		b := asked.Operator(a.ID)
		if b == nil {
			add(key, operatorText(a), "")
			continue
		}
		add(key+": parallelism", fmt.Sprint(a.Parallelism), fmt.Sprint(b.Parallelism))
		add(key+": max parallelism", fmt.Sprint(a.MaxParallelism), fmt.Sprint(b.MaxParallelism))
		add(key+": triggered", fmt.Sprint(a.Triggered), fmt.Sprint(b.Triggered))
		add(key+": uid", a.UID, b.UID)
	}
	for i := range asked.Operators {
		if b := &asked.Operators[i]; inEffect.Operator(b.ID) == nil {
			add("plan: operator "+b.ID, "", operatorText(b))
		}
	}
	if len(out) == 0 { // the order of the operators determines the hash and the numbers of the subtasks
		add("plan: order of the operators", orderText(inEffect), orderText(asked))
	}
	return out
}

func operatorText(o *journal.Operator) string {
	return fmt.Sprintf("parallelism %d of %d", o.Parallelism, o.MaxParallelism)
}

func orderText(p *journal.Plan) string {
	ids := make([]string, 0, len(p.Operators))
	for i := range p.Operators {
		ids = append(ids, p.Operators[i].ID)
	}
	return strings.Join(ids, ", ")
}
