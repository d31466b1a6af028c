package engines

import (
	"strings"
	"testing"
)

// The judgement of what an engine prints, by example.
func TestRecorder(t *testing.T) {
	for name, c := range map[string]struct{ printed, want string }{
		"all is well": {`attempt 1 restored checkpoint 0: 0
checkpoint 1 has 5
checkpoint 1 is complete
checkpoint 2 has 9
attempt 2 restored checkpoint 1: 5
checkpoint 18 has 7
anything else
attempt 3 restored checkpoint 18: 7`, ""},
		"the same checkpoint twice":       {"checkpoint 1 has 5\ncheckpoint 1 has 5", ""},
		"a lost checkpoint":               {"checkpoint 1 has 5\ncheckpoint 1 is complete\nattempt 2 restored checkpoint 0: 0", "though 1 was complete"},
		"a wrong state":                   {"checkpoint 1 has 5\nattempt 2 restored checkpoint 1: 6", `as "6", want "5"`},
		"a checkpoint that nobody took":   {"attempt 2 restored checkpoint 4: 6", "no process has taken"},
		"an attempt that is not new":      {"attempt 2 restored checkpoint 0: 0\nattempt 2 restored checkpoint 0: 0", "after attempt 2"},
		"two states of one checkpoint":    {"checkpoint 3 has 1\ncheckpoint 3 has 2", "taken twice"},
		"a wrong state after good states": {"checkpoint 1 has 5\ncheckpoint 2 has 6\nattempt 2 restored checkpoint 2: 5", `as "5", want "6"`},
	} {
		r := newRecorder()
		for _, p := range strings.SplitAfter(c.printed+"\n", "o") { // in pieces that are no lines
			if _, err := r.Write([]byte(p)); err != nil {
				t.Fatal(err)
			}
		}
		got := strings.Join(r.faults, "; ")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: judged %q, want %q", name, got, c.want)
		}
	}
}
