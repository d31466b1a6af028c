package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/layouttest"
	"github.com/ckptd/ckptd/layout/verify"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// try runs a command in the world of the verbs, and compares its exit code. It returns what was printed.
func (v *verbs) try(t *testing.T, want int, line string) string {
	t.Helper()
	var out bytes.Buffer
	if code := run(t.Context(), strings.Fields(v.replace.Replace(line)), &out, &out); code != want {
		t.Errorf("%s: exit code %d, want %d\n%s", line, code, want, &out)
	}
	return v.restore.Replace(out.String())
}

func (v *verbs) path(key string) string { return filepath.Join(v.dir, "root", key) }

// flip damages one byte of an object.
func (v *verbs) flip(t *testing.T, key string, at int) {
	t.Helper()
	b, err := os.ReadFile(v.path(key))
	if err == nil {
		b[at] ^= 1
		err = os.WriteFile(v.path(key), b, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("want %q in\n%s", want, text)
		}
	}
}

// Verify takes a root, a job, a checkpoint and a _metadata, in the root and outside, by itself and by a daemon.
func TestVerifyArguments(t *testing.T) {
	v := newVerbs(t)
	if err := os.CopyFS(filepath.Join(v.dir, "loose"), os.DirFS(v.path("clicks"))); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"verify ROOT", "verify ROOT/clicks --read-data", "verify ROOT/clicks/chk-42", "verify ROOT/clicks/chk-42/_metadata --read-data-subset 100%",
		"verify clicks --server SERVER", "verify clicks/chk-41 --server SERVER --read-data", "verify DIR/root --json", "verify DIR/loose/chk-42 --read-data",
		"verify DIR/loose/chk-42/_metadata",
	} {
		v.try(t, exit.Done, line)
	}
	contains(t, v.try(t, exit.Done, "verify ROOT/ended"), "no checkpoints")
	for _, line := range []string{
		"verify", "verify ROOT --read-data-subset 0/7", "verify ROOT --parallel 0", "verify ROOT --no-such", "verify nosuch://x", "drill ROOT/clicks", "drill ROOT/clicks/chk-42 --parallel 0",
	} {
		v.try(t, exit.Usage, line)
	}
	for _, line := range []string{
		"verify DIR/nowhere", "verify DIR", "verify ROOT/nobody", "verify ROOT/clicks/chk-7", "verify nobody --server SERVER", "verify DIR/loose", "verify DIR/../../../nowhere/x",
		"drill ROOT/clicks/chk-7", "drill DIR/nowhere/chk-1",
	} {
		v.try(t, exit.Failed, line)
	}
}

// A damaged checkpoint is named, with the operator, the file, and the older checkpoint that is whole.
func TestVerifyNamesTheDamage(t *testing.T) {
	v := newVerbs(t)
	v.flip(t, "clicks/"+layouttest.ExclusiveFile(layouttest.New), 120)
	v.try(t, exit.Done, "verify ROOT")
	contains(t, v.try(t, exit.Damage, "verify ROOT --read-data"),
		"clicks/chk-41  kept     2      3.1 KiB         whole", "clicks/chk-42  kept     2      3.1 KiB         DAMAGED",
		"it hits the state of sum of clicks", "clicks/"+layouttest.ExclusiveFile(layouttest.New)+": wrong bytes: CRC32C", "sum of clicks, subtask 0, managed keyed",
		"the newest older checkpoint that is whole: clicks/chk-41", "checkpoints: 2, jobs: 2, files: 3", "read: 3 files")
	contains(t, v.try(t, exit.Damage, "verify ROOT/clicks/chk-42 --read-data"), "the newest older checkpoint that is whole: clicks/chk-41")
	contains(t, v.try(t, exit.Damage, "drill ROOT/clicks/chk-42"), "DAMAGED", "cannot be restored")
	contains(t, v.try(t, exit.Done, "drill ROOT/clicks/chk-41"), "whole: fetched 4 pieces of 3 subtasks")

	var report struct {
		Verdict string
		Jobs    []struct {
			Checkpoints []struct {
				Verdict, OlderWholeCheckpointId string
				Damages                         []struct {
					Kind, Key string
					States    []struct{ OperatorUid string }
				}
			}
		}
	}
	text := v.try(t, exit.Damage, "verify ROOT --read-data --json")
	text, _, _ = strings.Cut(text, "\nckptd: ")
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatal(err)
	}
	c := report.Jobs[0].Checkpoints[1]
	if report.Verdict != "VERIFY_VERDICT_DAMAGED" || c.OlderWholeCheckpointId != "41" || c.Damages[0].Kind != "DAMAGE_KIND_WRONG_BYTES" || c.Damages[0].States[0].OperatorUid != "sum of clicks" {
		t.Errorf("%+v", report)
	}

	if err := os.Remove(v.path("clicks/" + layouttest.SharedFile())); err != nil {
		t.Fatal(err)
	}
	contains(t, v.try(t, exit.Damage, "verify ROOT"), "no older checkpoint of the job is whole", layouttest.SharedFile()+": missing", "sum of clicks, subtask 0, managed keyed counts; sum of clicks, subtask 1")
	contains(t, v.try(t, exit.Damage, "why ROOT/clicks/"+layouttest.SharedFile()), "MISSING", "clicks/chk-41 (kept)", "clicks/chk-42 (kept)")
	if err := os.RemoveAll(v.path("clicks/_journal")); err != nil {
		t.Fatal(err)
	}
	contains(t, v.try(t, exit.Damage, "verify ROOT"), "has no journal")
	if err := os.WriteFile(v.path("_ckptd"), []byte("rotten"), 0o666); err != nil {
		t.Fatal(err)
	}
	v.try(t, exit.Damage, "verify ROOT")
}

// Ctrl-C ends each verb with its exit code, and nothing is changed.
func TestVerifyInterrupted(t *testing.T) {
	v := newVerbs(t)
	for _, line := range []string{"verify ROOT --read-data", "drill ROOT/clicks/chk-42", "why ROOT/clicks/" + layouttest.SharedFile()} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var out bytes.Buffer
		if code := run(ctx, strings.Fields(v.replace.Replace(line)), &out, &out); code != exit.Interrupted {
			t.Errorf("%s: exit code %d, want %d\n%s", line, code, exit.Interrupted, &out)
		}
	}
}

// Why tells needed files, unneeded ones, those that only the owner knows about, and strangers' apart.
func TestWhy(t *testing.T) {
	v := newVerbs(t)
	name := func(epoch, checkpoint uint64) string {
		return layout.FileName{Epoch: epoch, Checkpoint: checkpoint, Nonce: layout.NewNonce(), Sequence: 1}.String()
	}
	write := func(key string) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(v.path(key)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(v.path(key), []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
		return "ROOT/" + key
	}
	for line, wants := range map[string][]string{
		"why ROOT/clicks/" + layouttest.SharedFile():                                               {"needed: a retained checkpoint needs it", "clicks/chk-41 (kept): sum of clicks, subtask 0, managed keyed counts", "clicks/chk-42"},
		"why clicks/" + layouttest.SharedFile() + " --server SERVER":                               {"needed: a retained checkpoint needs it"},
		"why ROOT/clicks/chk-42/_metadata":                                                         {"needed", "clicks/chk-42 (kept)"},
		"why ROOT/_ckptd":                                                                          {"the root's marker"},
		"why ROOT/clicks/_journal/00000000000000000001":                                            {"the job's journal"},
		"why " + write("clicks/notes.txt"):                                                         {"a stranger's"},
		"why " + write("README"):                                                                   {"a stranger's"},
		"why " + write("clicks/shared/"+name(2, 40)):                                               {"may be needed", "has an owner"},
		"why " + write("clicks/shared/"+name(2, 43)):                                               {"may be needed: of a checkpoint that may still complete"},
		"why " + write("clicks/shared/"+name(3, 50)):                                               {"may be needed: written by a later owner"},
		"why " + write("clicks/"+layout.CheckpointDir(40)+"/"+name(2, 40)):                         {"nobody needs it", "at least since 20"},
		"why " + write("clicks/"+layout.CheckpointDir(40)+"/"+layout.MetadataName):                 {"nobody needs it: of a checkpoint that is not retained"},
		"why " + write("ended/shared/"+name(1, 3)):                                                 {"nobody needs it: of an earlier owner"},
		"why " + write("clicks/_tmp/upload"):                                                       {"a temporary"},
		"why " + write("clicks/"+layout.CheckpointDir(44)+"/"+layout.MetadataName):                 {"may be needed"},
		"why " + write("clicks/taskowned/x"):                                                       {"task-owned"},
		"why " + write("clicks/_history/00000000000000000041-42-2-2-1-aaaaaaaaaaaaaaaaaaaaaaaaa4"): {"needed: of the job's history"},
		"why " + write("_probe/nonce/x"):                                                           {"the next start removes it"},
		"why ROOT/clicks/" + layouttest.ExclusiveFile(layouttest.New) + " --json":                  {`"need": "FILE_NEED_NEEDED"`, `"unneededSince": null`},
		"why " + v.replace.Replace("DIR/root/clicks/") + layouttest.ExclusiveFile(41):              {"clicks/chk-41 (kept)"},
	} {
		contains(t, v.try(t, exit.Done, line), wants...)
	}
	v.try(t, exit.Failed, "why ROOT/clicks/shared/"+name(2, 41))
	v.try(t, exit.Failed, "why ROOT/nobody/shared/x")
	v.try(t, exit.Failed, "why DIR/nowhere")
	v.try(t, exit.Failed, "why ../../etc/passwd")
	v.try(t, exit.Usage, "why clicks/../../etc/passwd --server SERVER")
	v.flip(t, "clicks/chk-41/_metadata", 100)
	contains(t, v.try(t, exit.Done, "why ROOT/clicks/shared/"+filepath.Base(write("clicks/shared/"+name(2, 39)))), "kept: a retained _metadata is not read")
}

// A drill through a real daemon finds what a drill from the store finds.
func TestDrillThroughADaemon(t *testing.T) {
	v := newVerbs(t)
	url := "unix:" + filepath.Join(socketDir(t), "sock")
	ctx, cancel := context.WithCancel(t.Context())
	var log buffer
	served := make(chan int, 1)
	go func() {
		served <- run(ctx, []string{"serve", "--root", v.path(""), "--listen", url}, &log, &log)
	}()
	defer func() {
		cancel()
		<-served
	}()
	for began := time.Now(); ; time.Sleep(pollEvery) {
		var out bytes.Buffer
		if run(t.Context(), []string{"ls", "--server", url}, &out, &out) == exit.Done {
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("the daemon does not answer: %s\n%s", &out, log.String())
		}
	}
	drill := "drill clicks/chk-42 --server " + url
	contains(t, v.try(t, exit.Done, drill), "whole: fetched 4 pieces of 3 subtasks", "from daemon "+url)
	v.flip(t, "clicks/"+layouttest.SharedFile(), 2999)
	contains(t, v.try(t, exit.Damage, drill), "wrong bytes", "sum of clicks, subtask 1, managed keyed counts")
	if err := os.Remove(v.path("clicks/" + layouttest.SharedFile())); err != nil {
		t.Fatal(err)
	}
	contains(t, v.try(t, exit.Damage, drill), "missing", "DAMAGED")
}

// Verify works on a real S3 server: whole, damaged, and exit code 1 when the server is gone.
func TestVerifyOnS3(t *testing.T) {
	server := servers.StartS3(t, servers.Versitygw, false)
	servers.Credentials(t)
	root := server.URL("verify", "")
	opened, err := drivers.Open(t.Context(), root, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = opened.Close() }()
	layouttest.Build(t, opened.Store)
	try := func(want int, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if code := run(t.Context(), args, &out, &out); code != want {
			t.Errorf("%v: exit code %d, want %d\n%s", args, code, want, &out)
		}
		return out.String()
	}
	contains(t, try(exit.Done, "verify", root, "--read-data"), "read: 3 files")
	try(exit.Done, "drill", drivers.Below(root, "clicks/chk-42"))
	contains(t, try(exit.Done, "why", drivers.Below(root, "clicks/"+layouttest.SharedFile())), "clicks/chk-41")
	opened.Store.Delete(t.Context(), []string{"clicks/" + layouttest.ExclusiveFile(42)})
	contains(t, try(exit.Damage, "verify", root), "missing")
	contains(t, try(exit.Damage, "drill", drivers.Below(root, "clicks/chk-42")), "missing")
}

// The line of progress has files, bytes and a rate.
func TestProgressLine(t *testing.T) {
	var p verify.Progress
	p.Metadata.Store(2)
	if got := progressLine("verify", &p, "-"); got != "verify: 2 _metadata and 0 files looked at" {
		t.Error(got)
	}
	p.Files.Store(3)
	p.TotalFiles.Store(9)
	p.Bytes.Store(1 << 20)
	p.TotalBytes.Store(4 << 20)
	if got := progressLine("verify", &p, rateOf(1<<20, time.Second/2)); got != "verify: 3 of 9 files, 1.0 MiB of 4.0 MiB, 2.0 MiB/s" {
		t.Error(got)
	}
	var b bytes.Buffer
	show, end := progressBar(&b, "verify", &p)
	show()
	end()
	contains(t, b.String(), "verify", "25%")
}

// A store that fails is no damage: the exit code is 1, with the cause.
func TestJudgeVerify(t *testing.T) {
	c := func(v ckptdv1.VerifyVerdict, kind ckptdv1.DamageKind) *ckptdv1.VerifiedCheckpoint {
		return &ckptdv1.VerifiedCheckpoint{Verdict: v, Damages: []*ckptdv1.Damage{{Kind: kind, Key: "k", Text: "disk on fire"}}}
	}
	r := &ckptdv1.VerifyReport{
		Verdict: ckptdv1.VerifyVerdict_VERIFY_VERDICT_UNREADABLE,
		Jobs: []*ckptdv1.VerifiedJob{{Checkpoints: []*ckptdv1.VerifiedCheckpoint{
			c(ckptdv1.VerifyVerdict_VERIFY_VERDICT_UNREADABLE, ckptdv1.DamageKind_DAMAGE_KIND_UNREADABLE),
		}}},
	}
	err := judgeVerify(r)
	if exitCode(t.Context(), err) != exit.Failed || !strings.Contains(err.Error(), "k: disk on fire") {
		t.Error(err)
	}
	r.Verdict = ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED
	r.Jobs[0].Checkpoints = append(r.Jobs[0].Checkpoints, c(ckptdv1.VerifyVerdict_VERIFY_VERDICT_DAMAGED, ckptdv1.DamageKind_DAMAGE_KIND_MISSING))
	if err := judgeVerify(r); exitCode(t.Context(), err) != exit.Damage || !strings.Contains(err.Error(), "not readable: 1") {
		t.Error(err)
	}
	r.Verdict = ckptdv1.VerifyVerdict_VERIFY_VERDICT_PART
	if err := judgeVerify(r); exitCode(t.Context(), err) != exit.Part {
		t.Error(err)
	}
}
