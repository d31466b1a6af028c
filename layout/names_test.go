package layout_test

import (
	"errors"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/layout"
)

const nonceA = "aaaaaaaaaaaaaaaaaaaaaaaaa4"

func TestValidateJobID(t *testing.T) {
	for _, id := range []string{"a", "clicks", "A.b_c-9", "savepoint", "chk-1", strings.Repeat("x", 128), layout.NewJobID()} {
		if err := layout.ValidateJobID(id); err != nil {
			t.Errorf("job id %q: %v, want no error", id, err)
		}
	}
	for _, id := range []string{"", ".", "..", ".a", "_a", "_tmp", "savepoint-1", "a/b", "a b", "a\x00", "ü", "a\n", strings.Repeat("x", 129)} {
		err := layout.ValidateJobID(id)
		if !errors.Is(err, layout.ErrName) {
			t.Errorf("%q: %v, want ErrName", id, err)
		} else if !strings.HasPrefix(err.Error(), "layout: job id ") {
			t.Errorf("job id %q: error %q, want one that begins with \"layout: job id \"", id, err)
		}
	}
}

func TestNewJobIDAndNonce(t *testing.T) {
	if id := layout.NewJobID(); !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) {
		t.Errorf("NewJobID() = %q, want 32 hex digits", id)
	}
	a, b := layout.NewNonce(), layout.NewNonce()
	if a == b {
		t.Error("two nonces are equal, want them different")
	}
	if err := layout.ValidateNonce(a); err != nil {
		t.Error(err)
	}
	for _, n := range []string{"", a[1:], a + "a", strings.ToUpper(a), a[:25] + "1", a[:25] + "-"} {
		if err := layout.ValidateNonce(n); !errors.Is(err, layout.ErrName) {
			t.Errorf("nonce %q: %v, want ErrName", n, err)
		}
	}
}

func TestFileNames(t *testing.T) {
	for _, c := range []struct {
		name layout.FileName
		text string
	}{
		{layout.FileName{Epoch: 1, Checkpoint: 7, Nonce: nonceA, Sequence: 12}, "30-1-7-" + nonceA + "-12"},
		{layout.FileName{Nonce: nonceA}, "69-0-0-" + nonceA + "-0"},
		{layout.FileName{Epoch: math.MaxUint64, Checkpoint: math.MaxUint64, Nonce: nonceA, Sequence: math.MaxUint64},
			"a6-18446744073709551615-18446744073709551615-" + nonceA + "-18446744073709551615"},
	} {
		if got := c.name.String(); got != c.text {
			t.Errorf("String() = %q, want %q: names on storage must not change", got, c.text)
		}
		if got, err := layout.ParseFileName(c.text); err != nil || got != c.name {
			t.Errorf("ParseFileName(%q) = %+v, %v; want %+v", c.text, got, err, c.name)
		}
	}
}

func TestParseFileNameRefuses(t *testing.T) {
	good := layout.FileName{Epoch: 1, Checkpoint: 7, Nonce: nonceA, Sequence: 12}.String()
	for _, s := range []string{
		"", "-", good + "x", good + "-", " " + good, good[1:], strings.ToUpper(good),
		"00" + good[2:],                                          // digits that do not follow from the rest
		strings.Replace(good, "-7-", "-07-", 1),                  // a leading zero
		strings.Replace(good, "-7-", "-+7-", 1),                  // a sign
		strings.Replace(good, "-7-", "--", 1),                    // a part missing
		strings.Replace(good, "-12", "-99999999999999999999", 1), // too large
		strings.Repeat("1", 1000),
	} {
		if n, err := layout.ParseFileName(s); !errors.Is(err, layout.ErrName) {
			t.Errorf("ParseFileName(%q) = %+v, %v; want ErrName", s, n, err)
		}
	}
}

func TestKeys(t *testing.T) {
	for got, want := range map[string]string{
		layout.JobPrefix("j"):                "j/",
		layout.JournalPrefix("j"):            "j/_journal/",
		layout.SharedPrefix("j"):             "j/shared/",
		layout.CheckpointPrefix("j", 7):      "j/chk-7/",
		layout.SharedKey("j", "f"):           "j/shared/f",
		layout.ExclusiveKey("j", 7, "f"):     "j/chk-7/f",
		layout.MetadataKey("j", 7):           "j/chk-7/_metadata",
		layout.SlotKey("j", 42):              "j/_journal/00000000000000000042",
		layout.SlotKey("j", math.MaxUint64):  "j/_journal/18446744073709551615",
		layout.CheckpointDir(math.MaxUint64): "chk-18446744073709551615",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if slot, err := layout.ParseSlotKey("j", layout.SlotKey("j", 42)); slot != 42 || err != nil {
		t.Errorf("ParseSlotKey = %d, %v; want 42", slot, err)
	}
	if _, err := layout.ParseSlotKey("k", layout.SlotKey("j", 42)); !errors.Is(err, layout.ErrName) {
		t.Errorf("ParseSlotKey of another job: %v, want ErrName", err)
	}
	for _, s := range []string{"", "0", "42", "00000000000000000000", "0000000000000000004x", "99999999999999999999", "000000000000000000042"} {
		if slot, err := layout.ParseSlot(s); !errors.Is(err, layout.ErrName) {
			t.Errorf("ParseSlot(%q) = %d, %v; want ErrName", s, slot, err)
		}
	}
	for _, s := range []string{"", "chk-", "chk-07", "chk--1", "chk-1/", "CHK-1", "7", "chk-18446744073709551616"} {
		if id, err := layout.ParseCheckpointDir(s); !errors.Is(err, layout.ErrName) {
			t.Errorf("ParseCheckpointDir(%q) = %d, %v; want ErrName", s, id, err)
		}
	}
}

func TestParseJobKey(t *testing.T) {
	file := layout.FileName{Epoch: 1, Checkpoint: 7, Nonce: nonceA, Sequence: 12}
	segment := layout.HistoryName{First: 1, Last: 100, Records: 99, Epoch: 2, Sequence: 3, Nonce: nonceA}
	for key, want := range map[string]layout.JobKey{
		"shared/" + file.String():          {Place: layout.PlaceShared, File: file},
		"chk-7/" + file.String():           {Place: layout.PlaceExclusive, Checkpoint: 7, File: file},
		"chk-7/_metadata":                  {Place: layout.PlaceMetadata, Checkpoint: 7},
		"_journal/00000000000000000042":    {Place: layout.PlaceSlot, Slot: 42},
		"_tmp/anything/at all":             {Place: layout.PlaceTemp},
		"taskowned/x":                      {Place: layout.PlaceTaskOwned},
		"_history/" + segment.String():     {Place: layout.PlaceHistory, History: segment},
		"_history/x":                       {},
		"_history/" + segment.String()[1:]: {},
		"":                                 {},
		"shared":                           {},
		"shared/":                          {},
		"shared/x":                         {},
		"shared/" + file.String() + "/x":   {},
		"chk-7":                            {},
		"chk-7/":                           {},
		"chk-7/x":                          {},
		"chk-07/_metadata":                 {},
		"chk-7/_metadata/":                 {},
		"_journal/42":                      {},
		"other/" + file.String():           {},
		"/shared/" + file.String():         {},
	} {
		got := layout.ParseJobKey(key)
		if got != want {
			t.Errorf("ParseJobKey(%q) = %+v, want %+v", key, got, want)
		}
		if s := got.String(); s != "" && s != key {
			t.Errorf("ParseJobKey(%q).String() = %q, want the key", key, s)
		}
	}
}

// A text that parses is printed unchanged, and a name that is printed parses back to the same.
func FuzzNames(f *testing.F) {
	file := layout.FileName{Epoch: 1, Checkpoint: 7, Nonce: nonceA, Sequence: 12}.String()
	for _, s := range []string{file, "chk-7", "00000000000000000042", "shared/" + file, "chk-7/" + file, "chk-7/_metadata", "_journal/00000000000000000042",
		layout.HistoryName{First: 1, Last: 2, Records: 2, Epoch: 1, Nonce: nonceA}.String()} {
		f.Add(s, uint64(1), uint64(7), uint64(12))
	}
	f.Fuzz(func(t *testing.T, s string, a, b, c uint64) {
		if n, err := layout.ParseFileName(s); err == nil && n.String() != s {
			t.Errorf("file name %q prints as %q, want the same", s, n)
		}
		if id, err := layout.ParseCheckpointDir(s); err == nil && layout.CheckpointDir(id) != s {
			t.Errorf("checkpoint %q prints as %q, want the same", s, layout.CheckpointDir(id))
		}
		if slot, err := layout.ParseSlot(s); err == nil && layout.SlotName(slot) != s {
			t.Errorf("slot %q prints as %q, want the same", s, layout.SlotName(slot))
		}
		if k := layout.ParseJobKey(s); k.String() != "" && k.String() != s {
			t.Errorf("key %q prints as %q, want the same", s, k)
		}
		if h, err := layout.ParseHistoryName(s); err == nil && h.String() != s {
			t.Errorf("segment %q prints as %q, want the same", s, h)
		}
		segment := layout.HistoryName{First: a, Last: b, Records: c, Epoch: b, Sequence: a, Nonce: layout.NewNonce()}
		if got, err := layout.ParseHistoryName(segment.String()); got != segment {
			t.Errorf("%+v parses back as %+v, %v, want the same", segment, got, err)
		}
		n := layout.FileName{Epoch: a, Checkpoint: b, Nonce: layout.NewNonce(), Sequence: c}
		for _, k := range []layout.JobKey{
			{Place: layout.PlaceShared, File: n}, {Place: layout.PlaceExclusive, Checkpoint: b, File: n},
			{Place: layout.PlaceMetadata, Checkpoint: b}, {Place: layout.PlaceSlot, Slot: max(a, 1)}, {Place: layout.PlaceHistory, History: segment},
		} {
			if got := layout.ParseJobKey(k.String()); got != k {
				t.Errorf("%+v parses back as %+v, want the same", k, got)
			}
		}
	})
}

func BenchmarkParseFileName(b *testing.B) {
	s := layout.FileName{Epoch: 1, Checkpoint: 7, Nonce: nonceA, Sequence: 12}.String()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := layout.ParseFileName(s); err != nil {
			b.Fatal(err)
		}
	}
}
