package file

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ckptd/ckptd/layout/storage"
)

// Sizes have a unit that fits, and each limit is named for what it limits.
func TestRoomInWords(t *testing.T) {
	r := room{bytes: share{0, 8 << 20}, inodes: share{3, 1600}, quotas: []quota{{"user 7", share{512, 2 << 40}, share{}}, {"group 8", share{}, share{1, 2}}}}
	const want = "free: 0 B of 8.0 MiB; inodes free: 3 of 1600; left by the quota of user 7: 512 B of 2.0 TiB; inodes left by the quota of group 8: 1 of 2"
	if got := r.String(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := (room{}).String(); got != "" {
		t.Errorf("%q, want nothing for a file system that does not say", got)
	}
	var seen []string
	for _, h := range r.hazards() {
		seen = append(seen, h.Name+": "+h.Seen)
	}
	const all = "space: 0 B free of 8.0 MiB, inodes: 3 free of 1600, quota of user 7: 512 B of 2.0 TiB left, quota of group 8: 1 of 2 inodes left"
	if got := strings.Join(seen, ", "); got != all {
		t.Errorf("%s, want %s", got, all)
	}
}

// The system has one text for a disk without bytes and for one without inodes. The store's error tells which it is.
func TestErrorOfAFullDiskSaysWhatIsUsedUp(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EIO} {
		sys := realSystem()
		sys.room = func(string) room { return room{bytes: share{11 << 30, 12 << 30}, inodes: share{0, 1600}} }
		s := openAt(t, t.TempDir(), sys).Store
		publish(t, s, "job/_journal/1")
		fail := func(path string) (*os.File, error) { return nil, &os.PathError{Op: "open", Path: path, Err: errno} }
		sys.openUnnamed, sys.createTemp = fail, fail
		err := s.Publish(t.Context(), "job/_journal/2", nil)
		if !errors.Is(err, errno) || strings.Contains(err.Error(), "inodes free: 0 of 1600") != (errno != unix.EIO) {
			t.Errorf("%v: %v, want the error, and the room only where it is used up", errno, err)
		}
		if quota := strings.Contains(err.Error(), "a quota of the user, the group or the folder is used up"); quota != (errno == unix.EDQUOT) {
			t.Errorf("%v: %v, want a word of the quota only where one is used up", errno, err)
		}
		w, err := s.Create(t.Context(), "job/shared/1", storage.CreateOptions{})
		if err == nil {
			_, _ = w.Write([]byte("x"))
			err = w.Commit()
			w.Abort()
		}
		if !errors.Is(err, errno) || strings.Contains(err.Error(), "inodes free: 0 of 1600") != (errno != unix.EIO) {
			t.Errorf("%v: %v, want the error, and the room only where it is used up", errno, err)
		}
	}
}
