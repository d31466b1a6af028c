package main

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/layouttest"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/file"
	"github.com/ckptd/ckptd/service"
	"github.com/ckptd/ckptd/service/owner"
	"github.com/ckptd/ckptd/service/shell"
)

// suspending suspends its process when the first record of the audit log is to be written: right before the deletes.
type suspending struct {
	storage.Store
	once          sync.Once
	reached, goOn chan struct{}
}

func (s *suspending) Create(ctx context.Context, key string, opts storage.CreateOptions) (storage.Writer, error) {
	if strings.HasPrefix(key, layout.AuditPrefix) {
		s.once.Do(func() { close(s.reached); <-s.goOn })
	}
	return s.Store.Create(ctx, key, opts)
}

// A command that removes a checkpoint from a copy is suspended before its deletes. Meanwhile the checkpoint is copied again, under the
// same names. When the command goes on, it deletes nothing of that.
func TestCopyAgainWhileARemovalIsSuspended(t *testing.T) {
	v := newVerbs(t)
	v.try(t, exit.Done, "copy ROOT/clicks DIR/copy")
	opened, err := file.Open(t.Context(), filepath.Join(v.dir, "copy"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	s := &suspending{Store: opened.Store, reached: make(chan struct{}), goOn: make(chan struct{})}
	opened.Store = s
	by := &shell.Command{Who: "test", Command: "rm"}
	janitor, err := service.NewJanitor(opened, nil, by)
	if err != nil {
		t.Fatal(err)
	}
	defer janitor.Close()
	removed := make(chan error)
	go func() {
		removed <- janitor.Do(t.Context(), "clicks", false, func(ctx context.Context, j *shell.Job) error {
			_, err := j.Edit(ctx, layout.NewNonce(), &owner.Edit{Kind: owner.EditRemove, IDs: []uint64{layouttest.Old}, Now: true}, by)
			return err
		})
	}()
	<-s.reached
	contains(t, v.try(t, exit.Done, "copy ROOT/clicks DIR/copy"), "copied")
	close(s.goOn)
	t.Log("the removal:", <-removed) // it was carried out before the copy, or it says that the job was taken over
	v.try(t, exit.Done, "verify DIR/copy --read-data")
}
