package clicks

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/ckptd/ckptd/runtime/state"
)

// Counts is clicks of logged-in users, by user.
type Counts map[string]uint64

// UserCount is one line of a ranking.
type UserCount struct {
	User  string
	Count uint64
}

// Recount reads a source to its end and counts plainly what the job counts.
func Recount(source state.Source) (Counts, error) {
	counts := map[string]*uint64{}
	var rec state.Record
	for {
		switch ready, err := source.Next(&rec); {
		case err != nil:
			return nil, err
		case ready == state.End:
			total := make(Counts, len(counts))
			for user, n := range counts {
				total[user] = *n
			}
			return total, nil
		case ready == state.Ready && LoggedIn(&rec):
			if n, ok := counts[string(rec.Key)]; ok { // without making a string each time
				*n++
			} else {
				n := uint64(1)
				counts[string(rec.Key)] = &n
			}
		}
	}
}

// Top is the n users with the most clicks; of equals, the one whose name comes first.
func (c Counts) Top(n int) []UserCount {
	all := make([]UserCount, 0, len(c))
	for user, count := range c {
		all = append(all, UserCount{user, count})
	}
	slices.SortFunc(all, func(a, b UserCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.User, b.User))
	})
	return all[:min(n, len(all))]
}

// Total is the sum of all counts.
func (c Counts) Total() (sum uint64) {
	for _, n := range c {
		sum += n
	}
	return sum
}

// maxProblems is how many problems a Verdict spells out.
const maxProblems = 10

// Verdict is what came of comparing a sink's lines with a recount. The job is exact if each user's lines are 1 to n, each once, n being the recount.
type Verdict struct {
	// Users and Lines that were compared.
	Users, Lines uint64
	// Missing lines: within a user's 1 to n, and not there.
	Missing uint64
	// Duplicate lines: there more than once; each repetition counts.
	Duplicate uint64
	// Foreign lines: of a user or a number that the recount does not have.
	Foreign uint64
	// Problems are the first few in words.
	Problems []string
}

// Exact says that nothing is missing, nothing is there twice and nothing is foreign.
func (v *Verdict) Exact() bool { return v.Missing == 0 && v.Duplicate == 0 && v.Foreign == 0 }

// String is one line for people.
func (v *Verdict) String() string {
	if v.Exact() {
		return fmt.Sprintf("exact: %d lines of %d users, each once", v.Lines, v.Users)
	}
	return fmt.Sprintf("not exact: %d lines missing, %d duplicate, %d foreign (of %d lines, %d users)", v.Missing, v.Duplicate, v.Foreign, v.Lines, v.Users)
}

func (v *Verdict) problem(format string, args ...any) {
	if len(v.Problems) < maxProblems {
		v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
	}
}

// Check compares. lines calls its function with the two fields of every line, in any order, and returns its own errors.
func Check(want Counts, lines func(func(user, count []byte) error) error) (*Verdict, error) {
	v := &Verdict{Users: uint64(len(want))}
	seen := make(map[string][]uint64, len(want)) // by user, one bit a line
	for user, n := range want {
		seen[user] = make([]uint64, n/64+1)
	}
	err := lines(func(user, count []byte) error {
		v.Lines++
		n, err := strconv.ParseUint(string(count), 10, 64)
		switch bits := seen[string(user)]; {
		case err != nil || n < 1 || bits == nil || n > want[string(user)]:
			v.Foreign++
			v.problem("user %q has the line %q; the recount is %d", user, count, want[string(user)])
		case bits[n/64]&(1<<(n%64)) != 0:
			v.Duplicate++
			v.problem("user %q has the line %d more than once", user, n)
		default:
			bits[n/64] |= 1 << (n % 64)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("clicks: check: %w", err)
	}
	for _, u := range want.Top(len(want)) { // in an order that does not change from run to run
		for n := uint64(1); n <= u.Count; n++ {
			if seen[u.User][n/64]&(1<<(n%64)) == 0 {
				v.Missing++
				v.problem("user %q has no line %d of %d", u.User, n, u.Count)
			}
		}
	}
	return v, nil
}
