package engines_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/ckptd/ckptd/conformance/engines"
)

const program = "../../docs/engine.py"

// TestPython runs the engine that docs/your-engine.md shows for other languages.
func TestPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CKPTD_CI") != "" || os.Getenv("CI") != "" {
			t.Fatalf("the engine of docs/engine.py was NOT run: %v", err)
		}
		t.Skipf("the engine of docs/engine.py was NOT run, install python3: %v", err)
	}
	o := &engines.Options{Quick: true}
	if os.Getenv("CKPTD_NIGHTLY") != "" {
		o = &engines.Options{Rounds: 20}
	}
	engines.Run(t, engines.Command(python, program, engines.Daemons, engines.Job, "0.05"), o)
}
