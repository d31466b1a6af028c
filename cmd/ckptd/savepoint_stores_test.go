package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/demo"
	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// storeURL makes a URL in a store that a test has started.
type storeURL func(path string) string

// startStore starts the store of a kind.
func startStore(t *testing.T, kind string) storeURL {
	t.Helper()
	switch kind {
	case "file":
		dir := t.TempDir()
		return func(path string) string { return filepath.Join(dir, path) }
	case "gcs":
		server := servers.StartGCS(t)
		return func(path string) string { return servers.GCSURL(server.Endpoint, path, "") }
	case "hdfs":
		server := servers.StartHDFS(t, 1, map[string]string{"dfs.datanode.synconclose": "true"})
		return func(path string) string { return server.URL(path, "") }
	}
	server := servers.StartS3(t, kind, false)
	return func(path string) string { return server.URL(path, "") }
}

// A job on one store takes a savepoint into another. All objects of the savepoint are copied below another prefix, as `aws s3 cp
// --recursive` does it, and the original is disposed of. Jobs on a third store begin from the copy, NO_CLAIM and CLAIM, and are exact. The
// copy is there after NO_CLAIM, and gone after CLAIM.
func TestSavepointsOnStores(t *testing.T) {
	t.Parallel()
	rows := []struct {
		root, saves, next string
		when              string // the variable without which the row is left out
	}{
		{root: "file", saves: servers.Versitygw, next: "gcs"},
		{root: servers.Versitygw, saves: "hdfs", next: servers.MinIO, when: "CKPTD_TEST_FULL"},
		{root: "gcs", saves: "gcs", next: "gcs", when: "CKPTD_NIGHTLY"},
		{root: "gcs", saves: "file", next: servers.Versitygw, when: "CKPTD_NIGHTLY"},
		{root: "hdfs", saves: servers.MinIO, next: "file", when: "CKPTD_NIGHTLY"},
		{root: "hdfs", saves: "hdfs", next: "hdfs", when: "CKPTD_NIGHTLY"},
		{root: servers.MinIO, saves: servers.MinIO, next: servers.MinIO, when: "CKPTD_NIGHTLY"},
		{root: servers.MinIO, saves: "gcs", next: "hdfs", when: "CKPTD_NIGHTLY"},
	}
	for _, row := range rows {
		t.Run("SP-1/"+strings.Join([]string{row.root, row.saves, row.next}, " to "), func(t *testing.T) {
			if row.when != "" && os.Getenv(row.when) == "" {
				t.Skip("not run: " + row.when + "=1 runs it (make test, make nightly); the first row always runs")
			}
			t.Parallel()
			stores := map[string]storeURL{}
			for _, kind := range []string{row.root, row.saves, row.next} {
				if stores[kind] == nil {
					stores[kind] = startStore(t, kind)
				}
			}
			saveElsewhere(t, stores[row.root]("jobs"), stores[row.saves]("saves"), stores[row.saves]("moved"), stores[row.next]("next"))
		})
	}
}

func saveElsewhere(t *testing.T, root, saves, moved, next string) {
	r := newRig(t, demo.Options{Root: root, Interval: "1h", Records: 15_000, Rate: 3000}, "CKPTD_SAVEPOINTS="+saves)
	r.begin()
	r.await("records flow", func(s *ckptdv1.JobState) bool { return r.Watch.Running && s.GetRecords() > 1000 })
	ckptd(t, exit.Done, "savepoint", r.ID, "--server", r.URL)
	saved := r.savepoints()[0].GetPath()
	r.must(r.Cancel(r.ctx))
	r.must(r.Stop(r.ctx))
	contains(t, ckptd(t, exit.Done, "show", saved), "savepoint")
	at := drivers.Below(normal(t, moved), "any%20name")
	r.copyObjects(saved, at)
	contains(t, ckptd(t, exit.Done, "dispose", saved), "would delete")
	contains(t, ckptd(t, exit.Done, "dispose", saved, "--yes"), "deleted")
	if left := r.objects(saved); len(left) > 0 {
		t.Errorf("dispose left %q", left)
	}
	for _, claim := range []bool{false, true} {
		heir := newRig(t, demo.Options{Root: next, Output: r.Params.Output, From: at, Claim: claim, Records: r.Params.Records, Rate: 10_000})
		heir.begin()
		if claim {
			heir.await("the claimed savepoint is disposed of", func(*ckptdv1.JobState) bool { return len(heir.objects(at)) == 0 })
		}
		heir.finishExact()
		if left := heir.objects(at); claim == (len(left) > 0) {
			t.Errorf("claim %t: the savepoint has %q", claim, left)
		}
		heir.must(heir.Stop(heir.ctx))
	}
}

func normal(t *testing.T, place string) string {
	t.Helper()
	out, err := drivers.Normal(place)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// objects lists what lies in a folder.
func (r *rig) objects(folder string) (keys []string) {
	r.t.Helper()
	parent, name, err := drivers.CutKey(folder)
	r.must(err)
	opened, err := drivers.Open(r.ctx, parent, true)
	r.must(err)
	defer opened.Close()
	for info, err := range opened.Store.List(r.ctx, name+"/") {
		r.must(err)
		keys = append(keys, info.Key)
	}
	return keys
}

// copyObjects copies all objects of a folder, byte by byte, into another folder.
func (r *rig) copyObjects(from, to string) {
	r.t.Helper()
	fromParent, fromName, err := drivers.CutKey(from)
	r.must(err)
	toParent, toName, err := drivers.CutKey(to)
	r.must(err)
	source, err := drivers.Open(r.ctx, fromParent, true)
	r.must(err)
	defer source.Close()
	target, err := drivers.Open(r.ctx, toParent, false)
	r.must(err)
	defer target.Close()
	for _, key := range r.objects(from) {
		body, err := source.Store.Open(r.ctx, key, 0, -1)
		r.must(err)
		w, err := target.Store.Create(r.ctx, toName+"/"+strings.TrimPrefix(key, fromName+"/"), storage.CreateOptions{})
		r.must(err)
		_, err = io.Copy(w, body)
		r.must(errors.Join(err, w.Commit(), body.Close()))
	}
}
