package retention

import (
	"reflect"
	"strings"
	"testing"
)

// TestParseRules: rules as text, and what is no rule, by its words and with what is allowed.
func TestParseRules(t *testing.T) {
	got, err := ParseRules("last=3, hourly = 4,daily=7", 24)
	if want := (Rules{Last: 3, Hourly: 4, Daily: 7}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for text, word := range map[string]string{
		"": `""`, "last": `"last"`, "last=0": "last=0", "last=-1": "last=-1", "last=x": "last=x", "secondly=3": "secondly=3", "last=1,last=2": "last=2",
		"last=25": "last=25", "last=12, daily=13": "keeps 25", "last=3,": `""`,
	} {
		if _, err := ParseRules(text, 24); err == nil || !strings.Contains(err.Error(), word) || !strings.Contains(err.Error(), "allowed is last, hourly") {
			t.Errorf("%q: %v, want it refused with %q and what is allowed", text, err, word)
		}
	}
}
