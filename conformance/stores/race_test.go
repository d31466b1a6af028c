package stores

import (
	"errors"
	"fmt"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

func TestJudgeRace(t *testing.T) {
	exists, unknown, other := storage.ErrExists, fmt.Errorf("409: %w", storage.ErrUnknown), errors.New("403")
	for _, c := range []struct {
		results []error
		may     string
		wrong   string
	}{
		{[]error{exists, nil, exists}, "[1]", ""},
		{[]error{unknown, nil, exists}, "[1]", ""},
		{[]error{unknown, exists, unknown}, "[0 2]", ""},
		{[]error{nil, exists, nil}, "[]", "writers 0 and 2 both won"},
		{[]error{nil, unknown, nil}, "[]", "writers 0 and 2 both won"},
		{[]error{exists, exists}, "[]", "nobody won"},
		{[]error{nil, other}, "[]", "a loser got 403"},
	} {
		if may, wrong := judgeRace(c.results); fmt.Sprint(may) != c.may || wrong != c.wrong {
			t.Errorf("judgeRace(%v) = %v, %q; want %s, %q", c.results, may, wrong, c.may, c.wrong)
		}
	}
}
