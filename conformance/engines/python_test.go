package engines_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ckptd/ckptd/conformance/engines"
)

const program, page = "../../docs/engine.py", "../../docs/your-engine.md"

// TestPage: the page shows the program that TestPython runs, and no other.
func TestPage(t *testing.T) {
	code, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(text), "```python\n")
	shown, _, _ = strings.Cut(shown, "```\n")
	if d := cmp.Diff(string(code), shown); d != "" {
		t.Errorf("docs/your-engine.md shows another program than docs/engine.py; -file +page:\n%s", d)
	}
}

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
