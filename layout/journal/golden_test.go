package journal

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"testing"
)

var update = flag.Bool("update", false, "write the golden file of the current version")

// TestGolden: what version 1 wrote is read for ever.
func TestGolden(t *testing.T) {
	const file = "testdata/v1.slot"
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
