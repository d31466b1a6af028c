package journal

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"testing"
)

var update = flag.Bool("update", false, "write the golden file of the current version")

// TestGolden: this version writes the same bytes for ever.
func TestGolden(t *testing.T) {
	const file = "testdata/v2.slot"
	b, err := Encode(base())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(golden, b) {
		t.Error("the same entry is written otherwise now")
	}
	if got, err := Decode(golden); err != nil || !reflect.DeepEqual(got, base()) {
		t.Errorf("%v: %+v", err, got)
	}
}

// TestVersion1IsReadForEver: its entries have no field of version 2.
func TestVersion1IsReadForEver(t *testing.T) {
	golden, err := os.ReadFile("testdata/v1.slot")
	if err != nil {
		t.Fatal(err)
	}
	want := base()
	want.LeastWriter, want.ReleasedAt, want.Settled, want.Retained[1].TrashUntil = 1, 0, false, 0
	want.seal()
	if got, err := Decode(golden); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: %+v", err, got)
	}
}
