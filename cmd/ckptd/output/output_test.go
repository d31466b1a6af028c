package output

import (
	"strings"
	"testing"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{"plain ü": "plain ü", "\x1b[31mred": `"\x1b[31mred"`, "a\nb": `"a\nb"`, "": ""} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 5 << 30: "5.0 GiB", 1<<64 - 1: "16.0 EiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

// A row whose last cells are empty must not shift the columns of the rows below it.
func TestColumnsStayAlignedBelowEmptyCells(t *testing.T) {
	var out strings.Builder
	table := NewTable(&out)
	table.Row("CHECK", "RESULT", "SEEN")
	table.Row("publish", "ok", "")
	table.Row("", "", "")
	table.Row("clock", "ok", "as ours")
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	const want = "CHECK    RESULT  SEEN\npublish  ok\n\nclock    ok      as ours\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}

func TestArgumentIsRepeatedIfItIsNoURL(t *testing.T) {
	for _, s := range []string{"", "localhost", ":7420", "127.0.0.1:99999", "my-job_2", "/tmp/my savepoint", "file:///tmp/chk-42"} {
		if got := Argument(s); got != `"`+s+`"` {
			t.Errorf("Argument(%q) = %s, want it quoted", s, got)
		}
	}
	for _, s := range []string{"key:topsecret", "http://u:topsecret@h", "h?topsecret", "topsecret@h", "\x1btopsecret", "a/topsecret"} {
		if got := Argument(s); strings.Contains(got, "topsecret") {
			t.Errorf("Argument(%q) = %s, want it not repeated", s, got)
		}
	}
}

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"0 jobs": Count(0, "job"), "1 job": Count(1, "job"), "2 jobs": Count(uint64(2), "job"),
		"1 entry": Count(uint32(1), "entry", "entries"), "3 entries": Count(3, "entry", "entries"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
