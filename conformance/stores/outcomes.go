package stores

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

// A mutation is one kind of change to one key, with the key's content before and after it; nil means absent.
type mutation struct {
	name          string
	key           string
	before, after []byte
	do            func(ctx context.Context, s storage.Store, key string) error
}

func mutations() []mutation {
	small, large := []byte("an entry"), random(9, 3<<19)
	creating := func(data []byte, ifAbsent bool) func(context.Context, storage.Store, string) error {
		return func(ctx context.Context, s storage.Store, key string) error {
			opts := announced(data)
			opts.IfAbsent = ifAbsent
			return create(ctx, s, key, data, opts)
		}
	}
	return []mutation{
		{"publish", "job/_journal/1", nil, small, func(ctx context.Context, s storage.Store, key string) error {
			return s.Publish(ctx, key, small)
		}},
		{"create", "job/shared/f", nil, large, creating(large, false)},
		{"create with IfAbsent", "job/chk-1/_metadata", nil, small, creating(small, true)},
		{"FS-26 delete", "job/chk-1/f", small, nil, func(ctx context.Context, s storage.Store, key string) error {
			return remove(ctx, s, key)
		}},
		{"copy", "job/shared/copied", nil, []byte("b"), func(ctx context.Context, s storage.Store, key string) error {
			if c, ok := s.(storage.Copier); ok {
				return c.CopyFrom(ctx, s, "bystander", key, announced([]byte("b")))
			}
			return create(ctx, s, key, []byte("b"), announced([]byte("b")))
		}},
	}
}

// outcomes makes each step of a mutation fail in turn, and compares the reported outcome with what another process
// then sees.
func outcomes(t *testing.T, h Harness, m mutation, newRoot func() string) {
	for step := 0; ; step++ {
		if step == 1000 {
			t.Fatal("Faulty: a fault happened at each of 1,000 steps, want a step without a fault")
		}
		name := newRoot()
		clean := h.Open(t, name)
		must(t, clean.Store.Publish(t.Context(), "bystander", []byte("b")))
		if m.before != nil {
			must(t, clean.Store.Publish(t.Context(), m.key, m.before))
		}
		opened, arm, happened := h.Faulty(t, name, step)
		arm()
		err := m.do(t.Context(), opened.Store, m.key)
		hit := happened()
		verdict(t, clean.Store, m, step, err)
		if err := errors.Join(opened.Close(), clean.Close()); err != nil {
			t.Errorf("Close: %v", err)
		}
		if !hit {
			if err != nil {
				t.Errorf("step %d, without a fault: error %v, want none", step, err)
			}
			if step == 0 {
				t.Error("Faulty: no fault happened at step 0, want one")
			}
			return
		}
	}
}

// verdict compares the reported outcome of a mutation with the store's content.
func verdict(t *testing.T, s storage.Store, m mutation, step int, reported error) {
	t.Helper()
	got, err := read(t.Context(), s, m.key, 0, -1)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("step %d: %v", step, err)
	}
	if err == nil && got == nil {
		got = []byte{}
	}
	same := func(want []byte) bool { return (got == nil) == (want == nil) && bytes.Equal(got, want) }
	switch {
	case reported == nil:
		if !same(m.after) {
			t.Errorf("step %d: reported as done, but the key holds %d bytes, want %d", step, len(got), len(m.after))
		}
	case errors.Is(reported, storage.ErrUnknown):
		if !same(m.before) && !same(m.after) {
			t.Errorf("step %d: reported as unknown, but the key holds %d bytes, want %d or %d", step, len(got), len(m.before), len(m.after))
		}
	default:
		if !same(m.before) {
			t.Errorf("step %d: reported as not done (%v), but the key holds %d bytes, want %d", step, reported, len(got), len(m.before))
		}
	}
	if reported != nil {
		var named *storage.Error
		if !errors.As(reported, &named) || named.Key != m.key {
			t.Errorf("step %d: error %v, want one that names operation and key", step, reported)
		}
	}
	if _, err := s.AbortUnfinished(t.Context(), "", func(string) bool { return true }); err != nil {
		t.Errorf("step %d: %v", step, err)
	}
	want := []string{"bystander"}
	if got != nil {
		want = append(want, m.key)
	}
	wantList(t, s, "", want...)
	wantObject(t, s, "bystander", []byte("b"))
}
