package file

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ckptd/ckptd/layout/storage"
)

// Tests on real file systems of their own: `CKPTD_PRIVILEGED=1 go test ./layout/storage/file`, as root.

// privileged skips a test on a machine that cannot make small file systems, and says what is missing.
// scripts/privileges says so before `make test`.
func privileged(t *testing.T, tools ...string) {
	t.Helper()
	if os.Getenv("CKPTD_PRIVILEGED") == "" {
		t.Skipf("not run: CKPTD_PRIVILEGED=1 go test -run %s ./layout/storage/file (as root: it mounts file systems)", t.Name())
	}
	packages := map[string]string{"mkfs.ext4": "e2fsprogs", "mkfs.xfs": "xfsprogs", "losetup": "mount", "mount": "mount"}
	for _, tool := range append(tools, "mount") {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("NOT RUN: %s is missing; on Debian: apt-get install %s", tool, packages[tool])
		}
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// A volume is a small file system in a file.
type volume struct {
	t                  *testing.T
	kind, image, mount string
	mounted            bool
}

// mkVolume makes a volume and mounts it until the test ends.
func mkVolume(t *testing.T, kind string, size int64) *volume {
	t.Helper()
	privileged(t, "mkfs."+kind, "losetup")
	dir := memoryDir(t)
	v := &volume{t: t, kind: kind, image: filepath.Join(dir, "image"), mount: filepath.Join(dir, "mount")}
	f, err := os.Create(v.image)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close(), os.Mkdir(v.mount, 0o777))
	}
	if err != nil {
		t.Fatal(err)
	}
	force := map[string]string{"ext4": "-F", "xfs": "-f"}[kind]
	command(t, "mkfs."+kind, "-q", force, v.image)
	v.up()
	t.Cleanup(func() {
		if v.mounted {
			v.down()
		}
	})
	return v
}

func (v *volume) up() {
	v.t.Helper()
	options := "loop"
	if v.kind == "ext4" {
		options += ",errors=remount-ro"
	}
	command(v.t, "mount", "-o", options, v.image, v.mount)
	v.mounted = true
}

func (v *volume) down() {
	v.t.Helper()
	err := unix.Unmount(v.mount, 0)
	for try := 0; errors.Is(err, unix.EBUSY) && try < 50; try++ {
		runtime.GC() // closes files that a store abandoned
		err = unix.Unmount(v.mount, 0)
	}
	if err != nil {
		v.t.Fatalf("unmount %s: %v", v.mount, err)
	}
	v.mounted = false
}

// settle writes everything to the disk.
func (v *volume) settle() {
	v.t.Helper()
	f, err := os.Open(v.mount)
	if err == nil {
		err = errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
	}
	if err != nil {
		v.t.Fatal(err)
	}
}

// The ways in which a file system can go down. In one way the journal in memory is written first, so that names may
// outlive their files; in the other it is not.
const (
	journalWritten = 1
	journalLost    = 2
)

// powerOff stops the file system: no byte reaches the disk after it.
func (v *volume) powerOff(how uint32) error {
	const goingDown = 0x8004587d // FS_IOC_SHUTDOWN
	f, err := os.Open(v.mount)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), goingDown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		return errno
	}
	return nil
}

// A power cut on a real file system, after each call with CKPTD_NIGHTLY=1, otherwise after every fourth call.
// Everything that was reported durable, or shown, is there and whole after the journal's recovery.
func TestPowerCutsOnRealFileSystems(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		for name, how := range map[string]uint32{"journal written": journalWritten, "journal lost": journalLost} {
			t.Run(kind+", "+name, func(t *testing.T) {
				v := mkVolume(t, kind, map[string]int64{"ext4": 64 << 20, "xfs": 320 << 20}[kind])
				step, first := 4, 0
				if os.Getenv("CKPTD_NIGHTLY") != "" {
					step = 1
				}
				for _, sys := range []func() *system{realSystem, withoutUnnamed} {
					for _, beside := range []bool{false, true} {
						calls := 1 + first%step
						for realPowerCut(t, v, how, sys, beside, calls) && !t.Failed() {
							calls += step
						}
						t.Logf("up to %d calls, beside another process: %v", calls, beside)
						first++
					}
				}
			})
		}
	}
}

// realPowerCut cuts the power after this number of calls, and reports whether there were as many.
func realPowerCut(t *testing.T, v *volume, how uint32, newSystem func() *system, beside bool, calls int) bool {
	root := filepath.Join(v.mount, "made", "root")
	if err := os.RemoveAll(filepath.Dir(root)); err != nil {
		t.Fatal(err)
	}
	var trace []string
	defer func() {
		if t.Failed() {
			t.Log(strings.Join(trace, "\n"))
		}
	}()
	v.settle() // what the last round left is gone for good
	r := &reports{offered: map[string]string{}, must: map[string]bool{}}
	if beside {
		r.killed(t, root, newSystem())
	}
	sys, made, off := newSystem(), 0, false
	around(sys, func(call string, do func() error) error {
		err := do()
		trace = append(trace, fmt.Sprint(call, ": ", err))
		if made++; made == calls {
			if err := v.powerOff(how); err != nil {
				t.Fatal(err)
			}
			off = true
		}
		return err
	})
	opened, err := open(t.Context(), root, nil, sys)
	if err == nil {
		r.work(t, opened.Store)
	} else if !off {
		t.Fatal(err)
	}
	if !off {
		return false
	}
	v.down()
	v.up()
	r.check(t, openAt(t, root, newSystem()).Store, calls)
	return true
}

// reports are what a store reported before the power was cut.
type reports struct {
	offered map[string]string
	must    map[string]bool
}

func (r *reports) bytes(key string) []byte {
	data := []byte(strings.Repeat(key+"\n", 1000))
	r.offered[key] = string(data)
	return data
}

// killed is a process that made folders and an object's name, and was killed before it synced any of them.
func (r *reports) killed(t *testing.T, root string, sys *system) {
	if err := os.MkdirAll(root, 0o777); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, root, sys).Store
	if err := s.(*store).probe(); err != nil {
		t.Fatal(err)
	}
	sys.syncDir = func(*os.File) error { return errors.New("killed") }
	for _, key := range []string{"job/chk-1/other", "job/_journal/1"} {
		if err := s.Publish(t.Context(), key, r.bytes(key)); err == nil {
			t.Fatal("publish of the other process: no error, want it killed")
		}
	}
}

// work does a part of a checkpoint's life. Its operations may fail, because the power is off.
func (r *reports) work(t *testing.T, s storage.Store) {
	ctx := t.Context()
	ended := func(key string, err error) {
		if err == nil || errors.Is(err, storage.ErrExists) {
			r.must[key] = true
		}
	}
	publish := func(key string) { ended(key, s.Publish(ctx, key, r.bytes(key))) }
	create := func(key string) {
		w, err := s.Create(ctx, key, storage.CreateOptions{IfAbsent: true})
		if err == nil {
			_, err = w.Write(r.bytes(key))
			err = errors.Join(err, w.Commit())
		}
		ended(key, err)
	}
	for info, err := range s.List(ctx, "") {
		if err == nil {
			r.must[info.Key] = true
		}
	}
	publish("job/_journal/1")
	create("job/chk-1/f")
	create("job/chk-1/_metadata")
	publish("job/_journal/2")
	publish("job/_journal/3")
	gone := []string{"job/chk-1/f", "job/chk-1/_metadata", "job/chk-1/other", "job/_journal/1"}
	for _, key := range gone {
		delete(r.must, key)
	}
	_ = s.Delete(ctx, gone)
	create("job/chk-1/late")
}

func (r *reports) check(t *testing.T, s storage.Store, calls int) {
	t.Helper()
	there := map[string]bool{}
	for _, key := range listed(t, s, "") {
		there[key] = true
		body, err := s.Open(t.Context(), key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(body)
		body.Close()
		if err != nil || string(data) != r.offered[key] {
			t.Errorf("cut after %d calls: %s holds %d bytes, want the %d offered; %v", calls, key, len(data), len(r.offered[key]), err)
		}
	}
	for key := range r.must {
		if !there[key] {
			t.Errorf("cut after %d calls: %s is gone, want it there: it was reported durable", calls, key)
		}
	}
	if there["job/_journal/3"] && !there["job/_journal/2"] {
		t.Errorf("cut after %d calls: the journal has a gap, want none", calls)
	}
	publish(t, s, "job/_journal/100")
}

// The search proves something only if the file systems do lose what is not synced.
func TestPowerCutsOnRealFileSystemsAreNoticed(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		v := mkVolume(t, kind, map[string]int64{"ext4": 64 << 20, "xfs": 320 << 20}[kind])
		s := openAt(t, v.mount, unsynced(realSystem())).Store
		publish(t, s, "job/_journal/1")
		if err := v.powerOff(journalLost); err != nil {
			t.Fatal(err)
		}
		v.down()
		v.up()
		if got := listed(t, openAt(t, v.mount, realSystem()).Store, "job/"); got != nil {
			t.Errorf("%s keeps files that were never synced: %v, want none, or the search proves nothing", kind, got)
		}
	}
}

// The power goes off between an object's link and its folder's sync. XFS reports that the sync worked.
func TestSyncOfAFolderOfADeadFileSystem(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		v := mkVolume(t, kind, map[string]int64{"ext4": 64 << 20, "xfs": 320 << 20}[kind])
		sys := realSystem()
		s := openAt(t, v.mount, sys).Store
		publish(t, s, "job/_journal/1")
		around(sys, func(call string, do func() error) error {
			err := do()
			if call == "link" {
				err = errors.Join(err, v.powerOff(journalLost))
			}
			return err
		})
		if err := s.Publish(t.Context(), "job/_journal/2", nil); !errors.Is(err, storage.ErrUnknown) || !errors.Is(err, storage.ErrAbandoned) {
			t.Errorf("%s: publish on a dead file system: %v, want ErrUnknown and ErrAbandoned", kind, err)
		}
	}
}

// fill creates objects of 1 MiB until one does not fit. That one must be not done, and must leave nothing.
func fill(t *testing.T, s storage.Store, folder string) (keys []string) {
	t.Helper()
	data := make([]byte, 1<<20)
	for i := range 1000 {
		key := fmt.Sprintf("%s/%d", folder, i)
		w, err := s.Create(t.Context(), key, storage.CreateOptions{})
		if err == nil {
			_, err = w.Write(data)
		}
		if err == nil {
			err = w.Commit()
		}
		if w != nil {
			w.Abort()
		}
		if err == nil {
			keys = append(keys, key)
			continue
		}
		if !errors.Is(err, unix.ENOSPC) || errors.Is(err, storage.ErrUnknown) {
			t.Errorf("on a full disk: %v, want ENOSPC that is not unknown", err)
		}
		slices.Sort(keys)
		if got := listed(t, s, folder+"/"); !slices.Equal(got, keys) {
			t.Errorf("List = %v, want %v", got, keys)
		}
		return keys
	}
	t.Fatal("the disk is never full, want it to be full at some time")
	return nil
}

// On a full disk, a creation that does not fit is not done and leaves nothing. Deletes give the space back, and work
// continues.
func TestSmallDisk(t *testing.T) {
	mounts := map[string]func(t *testing.T) string{
		"ext4": func(t *testing.T) string { return mkVolume(t, "ext4", 32<<20).mount },
		"tmpfs": func(t *testing.T) string {
			privileged(t)
			dir := t.TempDir()
			command(t, "mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", dir)
			t.Cleanup(func() { command(t, "umount", dir) })
			return dir
		},
	}
	for name, mount := range mounts {
		t.Run(name, func(t *testing.T) {
			for kind, newSystem := range map[string]func() *system{"unnamed": realSystem, "named": withoutUnnamed} {
				t.Run(kind, func(t *testing.T) { smallDisk(t, openAt(t, mount(t), newSystem()).Store) })
			}
		})
	}
}

func smallDisk(t *testing.T, s storage.Store) {
	publish(t, s, "job/_journal/1")
	keys := fill(t, s, "job/shared")
	// Small objects may still fit for a while.
	last, full := 1, false
	for ; !full && last < 100_000; last++ {
		err := s.Publish(t.Context(), fmt.Sprintf("job/_journal/%d", last+1), make([]byte, 3000))
		full = errors.Is(err, unix.ENOSPC)
		if err != nil && (!full || errors.Is(err, storage.ErrUnknown)) {
			t.Fatalf("publish on a full disk: %v, want ENOSPC that is not unknown", err)
		}
	}
	if got := listed(t, s, "job/_journal/"); !full || len(got) != last-1 {
		t.Errorf("full: %v; %d entries listed, want the %d published ones", full, len(got), last-1)
	}
	if errs := s.Delete(t.Context(), keys); errs != nil {
		t.Fatal(errs)
	}
	publish(t, s, fmt.Sprintf("job/_journal/%d", last))
	again := fill(t, s, "job/shared2")
	if len(again) < len(keys)-len(keys)/4-1 {
		t.Errorf("%d MiB fitted; after deleting all of them only %d: want the space given back", len(keys), len(again))
	}
	if n, err := s.AbortUnfinished(t.Context(), "", func(string) bool { return true }); n != 0 || err != nil {
		t.Errorf("temporaries left: %d, %v; want none", n, err)
	}
}

// A file system becomes read-only while it is used. Nothing is done, the errors say why, and work continues
// afterwards.
func TestRemountedReadOnly(t *testing.T) {
	v := mkVolume(t, "ext4", 32<<20)
	for _, sys := range []*system{realSystem(), withoutUnnamed()} {
		s := openAt(t, v.mount, sys).Store
		_ = s.Delete(t.Context(), []string{"job/shared/f", "job/shared/g"})
		publish(t, s, "job/shared/f")
		command(t, "mount", "-o", "remount,ro", v.mount)
		_, createErr := s.Create(t.Context(), "job/shared/g", storage.CreateOptions{})
		wantReadOnly(t, createErr, s.Publish(t.Context(), "job/shared/g", nil), s.Delete(t.Context(), []string{"job/shared/f"})[0])
		if got := listed(t, s, "job/"); !slices.Equal(got, []string{"job/shared/f"}) {
			t.Errorf("List = %v, want the published object", got)
		}
		command(t, "mount", "-o", "remount,rw", v.mount)
		publish(t, s, "job/shared/g")
	}
	empty := filepath.Join(v.mount, "empty")
	if err := os.Mkdir(empty, 0o777); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-o", "remount,ro", v.mount)
	_, err := Open(t.Context(), empty, nil)
	_, absentErr := Open(t.Context(), filepath.Join(v.mount, "absent"), nil)
	wantReadOnly(t, err, absentErr)
}

func wantReadOnly(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if !errors.Is(err, unix.EROFS) || errors.Is(err, storage.ErrUnknown) || !strings.Contains(err.Error(), "for reading only") ||
			!strings.Contains(err.Error(), "ext4") {
			t.Errorf("on a read-only file system: %v, want an error that says so and is not unknown", err)
		}
	}
}

// A disk error makes the kernel stop writing while an object is half written.
func TestKernelStopsWriting(t *testing.T) {
	v := mkVolume(t, "ext4", 32<<20)
	s := openAt(t, v.mount, realSystem()).Store
	publish(t, s, "job/shared/f")
	w, err := s.Create(t.Context(), "job/shared/g", storage.CreateOptions{})
	if err == nil {
		_, err = w.Write(make([]byte, 1<<20))
	}
	if err != nil {
		t.Fatal(err)
	}
	device, err := exec.Command("findmnt", "-n", "-o", "SOURCE", v.mount).Output()
	if err != nil {
		t.Fatal(err)
	}
	trigger := filepath.Join("/sys/fs/ext4", filepath.Base(strings.TrimSpace(string(device))), "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("test"), 0o200); err != nil {
		t.Skipf("NOT RUN: this kernel cannot be told that a disk failed: %v", err)
	}
	err = w.Commit()
	if err == nil || errors.Is(err, storage.ErrUnknown) {
		t.Errorf("commit after the kernel stopped writing: %v, want an error", err)
	}
	wantReadOnly(t, s.Publish(t.Context(), "job/shared/h", nil))
	v.down()
	v.up()
	if got := listed(t, openAt(t, v.mount, realSystem()).Store, "job/"); !slices.Equal(got, []string{"job/shared/f"}) {
		t.Errorf("List = %v, want the objects of before", got)
	}
}

// A folder of a container's image becomes another folder with its first change. It stays the root, empty or in use.
func TestRootInAnImage(t *testing.T) {
	privileged(t)
	for name, inUse := range map[string]bool{"empty": false, "in use": true} {
		for kind, sys := range map[string]*system{"": realSystem(), ", named": withoutUnnamed()} {
			if inUse && kind != "" {
				continue // then nothing moves it up without leaving a trace
			}
			t.Run(name+kind, func(t *testing.T) {
				base := memoryDir(t)
				at := map[string]string{}
				for _, folder := range []string{"lower", "upper", "work", "merged"} {
					at[folder] = filepath.Join(base, folder)
					if err := os.MkdirAll(filepath.Join(at[folder]), 0o777); err != nil {
						t.Fatal(err)
					}
				}
				image := filepath.Join(at["lower"], "root")
				if err := os.Mkdir(image, 0o777); err != nil {
					t.Fatal(err)
				}
				if inUse {
					if err := openAt(t, image, realSystem()).Store.Publish(t.Context(), "job/a", nil); err != nil {
						t.Fatal(err)
					}
				}
				options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", at["lower"], at["upper"], at["work"])
				if err := unix.Mount("overlay", at["merged"], "overlay", 0, options); err != nil {
					t.Skipf("NOT RUN: no overlayfs here: %v", err)
				}
				t.Cleanup(func() { _ = unix.Unmount(at["merged"], 0) })
				s := openAt(t, filepath.Join(at["merged"], "root"), sys).Store
				if inUse {
					if errs := s.Delete(t.Context(), []string{"job/a"}); errs != nil {
						t.Error(errs)
					}
				}
				if err := s.Publish(t.Context(), "job/b", nil); err != nil {
					t.Error(err)
				}
				if _, err := s.Stat(t.Context(), "job/a"); !errors.Is(err, storage.ErrNotFound) {
					t.Error(err)
				}
			})
		}
	}
}
