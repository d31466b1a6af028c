package main

import (
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/conformance/gcsfake"
	"github.com/ckptd/ckptd/conformance/servers"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// gcsBucket is a bucket with certain settings, and doctor's findings about them.
type gcsBucket struct {
	name string
	set  gcsfake.Bucket
	skew time.Duration

	code         int
	check        string
	result       ckptdv1.Result
	seen, advice string
	soft, live   bool // what doctor's own files leave: soft-deleted ones, live ones
}

func gcsRule(action map[string]any, condition map[string]any) []map[string]any {
	return []map[string]any{{"action": action, "condition": condition}}
}

func gcsBuckets() []gcsBucket {
	const ok, warning, unfit, not = ckptdv1.Result_RESULT_OK, ckptdv1.Result_RESULT_WARNING, ckptdv1.Result_RESULT_UNFIT, ckptdv1.Result_RESULT_NOT_EXAMINED
	remove := map[string]any{"type": "Delete"}
	week := 7 * 24 * time.Hour
	return []gcsBucket{
		{name: "plain", check: "soft delete", result: ok, seen: "off"},
		{name: "one change a second", set: gcsfake.Bucket{OncePerSecond: true}, check: "speed", result: ok},
		{name: "soft delete", set: gcsfake.Bucket{SoftDelete: week}, check: "soft delete", result: warning, seen: "700 GiB more, about 14.00 $ a month", advice: "--clear-soft-delete", soft: true},
		{name: "versioned", set: gcsfake.Bucket{Versioning: true}, check: "versioning", result: warning, seen: "stay as old versions", advice: "noncurrent versions"},
		{name: "versioned and cleared", set: gcsfake.Bucket{Versioning: true, Rules: gcsRule(remove, map[string]any{"daysSinceNoncurrentTime": 1})},
			check: "versioning", result: ok, seen: "until a lifecycle rule removes them"},
		{name: "retained", set: gcsfake.Bucket{Retention: 24 * time.Hour}, code: exit.Damage, check: "retention policy", result: unfit, seen: "in its first 1 day", advice: "Use a bucket without"},
		{name: "held", set: gcsfake.Bucket{EventHold: true}, code: exit.Damage, check: "object holds", result: unfit, seen: "event-based hold", advice: "--no-default-event-based-hold"},
		{name: "expires", set: gcsfake.Bucket{Rules: gcsRule(remove, map[string]any{"age": 30, "matchesPrefix": []string{"ck/"}})},
			code: exit.Damage, check: "lifecycle rules", result: unfit, seen: "rule 1 deletes objects", advice: "Take the prefix out"},
		{name: "expires others", set: gcsfake.Bucket{Rules: gcsRule(remove, map[string]any{"age": 30, "matchesPrefix": []string{"logs/"}})},
			check: "lifecycle rules", result: ok, seen: "none that touch the prefix"},
		{name: "moves", set: gcsfake.Bucket{Rules: gcsRule(map[string]any{"type": "SetStorageClass", "storageClass": "COLDLINE"}, map[string]any{"age": 30})},
			check: "lifecycle rules", result: warning, seen: "into COLDLINE", advice: "Take the prefix out"},
		{name: "nearline", set: gcsfake.Bucket{StorageClass: "NEARLINE"}, check: "storage class", result: warning, seen: "at least 30 days", advice: "storage_class=STANDARD"},
		{name: "settings denied", set: gcsfake.Bucket{Denied: []string{"storage.buckets.get"}}, check: "soft delete", result: not, seen: "storage.buckets.get is not allowed", advice: "roles/storage.bucketViewer"},
		{name: "create denied", set: gcsfake.Bucket{Denied: []string{"storage.objects.create"}}, code: exit.Damage, check: "publish", result: unfit, seen: "does not have storage.objects.create", advice: "storage.objects.create"},
		{name: "get denied", set: gcsfake.Bucket{Denied: []string{"storage.objects.get"}}, code: exit.Damage, check: "read", result: unfit, seen: "does not have storage.objects.get", advice: "storage.objects.get"},
		{name: "delete denied", set: gcsfake.Bucket{Denied: []string{"storage.objects.delete"}}, code: exit.Damage, check: "delete", result: unfit, seen: "does not have storage.objects.delete", advice: "storage.objects.delete", live: true},
		{name: "list denied", set: gcsfake.Bucket{Denied: []string{"storage.objects.list"}}, code: exit.Failed, check: "open", result: not, seen: "needs storage.objects.list"},
		{name: "clock", skew: 20 * time.Minute, check: "clock", result: warning, seen: "ahead of ours", advice: "NTP"},
	}
}

// Doctor reports settings by which a bucket of Google's keeps or removes objects by itself, missing permissions one by
// one, and a clock that is off. It leaves nothing that it could remove. serve and demo refuse a bucket that loses files
// or keeps all of them.
func TestDoctorOnGCS(t *testing.T) {
	t.Parallel()
	for _, c := range gcsBuckets() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := gcsfake.New(servers.Bucket, c.set)
			server.Skew = c.skew
			listening := httptest.NewServer(server)
			defer listening.Close()
			root := servers.GCSURL(listening.URL, "ck", "")
			r, code, said := runDoctor(t, root)
			f := findingOf(r, c.check)
			if code != c.code || f.GetResult() != c.result || !strings.Contains(f.GetSeen(), c.seen) || !strings.Contains(f.GetAdvice(), c.advice) {
				t.Errorf("exit code %d, want %d; %v\n%s\n%s", code, c.code, f, protojson.Format(r), said)
			}
			live, old, soft, uploads := server.Versions(servers.Bucket)
			if (live > 0) != c.live || old > 0 || (soft > 0) != c.soft || uploads > 0 {
				t.Errorf("left: %d live, %d old, %d soft-deleted, %d uploads; want %+v", live, old, soft, uploads, c)
			}
			if c.result != ckptdv1.Result_RESULT_UNFIT || strings.HasSuffix(c.name, "denied") {
				return
			}
			for _, args := range [][]string{
				{"serve", "--root", root, "--listen", "unix:" + filepath.Join(t.TempDir(), "s")}, {"demo", "--root", root, "--records", "100", "--kills", "0"},
			} {
				if out, code := runProcess(nil, args...); code != exit.Damage || !strings.Contains(out, c.seen) || !strings.Contains(out, c.advice) {
					t.Errorf("%s: exit code %d\n%s", args[0], code, out)
				}
			}
			if live, _, _, _ := server.Versions(servers.Bucket); live > 0 {
				t.Errorf("serve or demo left %d objects", live)
			}
		})
	}
}

// What soft delete keeps below the prefix is counted and priced.
func TestDoctorPricesSoftDelete(t *testing.T) {
	t.Parallel()
	server := gcsfake.New(servers.Bucket, gcsfake.Bucket{SoftDelete: 24 * time.Hour, PageSize: 50})
	listening := httptest.NewServer(server)
	defer listening.Close()
	root := servers.GCSURL(listening.URL, "ck", "")
	if _, code, said := runDoctor(t, root); code != exit.Done {
		t.Fatalf("exit code %d: %s", code, said)
	}
	_, _, soft, _ := server.Versions(servers.Bucket)
	r, _, _ := runDoctor(t, root)
	if want := fmt.Sprintf("for 1 day; below the prefix that is %d files of 0.", soft); soft == 0 || !strings.Contains(findingOf(r, "soft delete").GetSeen(), want) {
		t.Errorf("%d soft-deleted files, seen %q; want %q", soft, findingOf(r, "soft delete").GetSeen(), want)
	}
}

// Doctor is content with a server that others have written, and leaves nothing there.
func TestDoctorOnFakeGCS(t *testing.T) {
	t.Parallel()
	root := servers.GCSURL(servers.StartGCS(t).Endpoint, "some/prefix", "")
	r, code, said := runDoctor(t, root)
	if code != exit.Done || r.GetVerdict() != ckptdv1.Verdict_VERDICT_FIT {
		t.Errorf("exit code %d\n%s\n%s", code, protojson.Format(r), said)
	}
	if left := objectsOf(t, root); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
