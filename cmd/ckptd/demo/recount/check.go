package recount

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// Counts holds the number of clicks of each logged-in user.
type Counts map[string]uint64

// UserCount is one line of a ranking.
type UserCount struct {
	User  string
	Count uint64
}

// Top returns the n users with the most clicks. Of users with equal counts, the one whose name sorts first comes
// first.
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

// Total returns the sum of all counts.
func (c Counts) Total() (sum uint64) {
	for _, n := range c {
		sum += n
	}
	return sum
}

// maxProblems is the number of problems that a Verdict describes.
const maxProblems = 10

// Verdict is the result of comparing a sink's lines with a recount. If the recount of a user is n, the job is exact
// if the lines of the user are 1 to n, each once.
type Verdict struct {
	// Users and Lines that were compared.
	Users, Lines uint64
	// Missing is the number of lines within a user's 1 to n that do not exist.
	Missing uint64
	// Duplicate counts repeated lines; each repetition counts.
	Duplicate uint64
	// Foreign is the number of lines with a user or a number that the recount does not have.
	Foreign uint64
	// Before counts the lines that only the runs before this one have.
	Before uint64
	// Problems describes the first few problems.
	Problems []string
}

// Exact reports whether no line is missing, duplicate or foreign.
func (v *Verdict) Exact() bool { return v.Missing == 0 && v.Duplicate == 0 && v.Foreign == 0 }

// String formats the verdict as one line.
func (v *Verdict) String() string {
	if v.Exact() && v.Before > 0 {
		return fmt.Sprintf("exact: %s of %s, each once, after %s of earlier runs", count(v.Lines, "line"), count(v.Users, "user"), count(v.Before, "line"))
	}
	if v.Exact() {
		return fmt.Sprintf("exact: %s of %s, each once", count(v.Lines, "line"), count(v.Users, "user"))
	}
	return fmt.Sprintf("not exact: %s missing, %d duplicate, %d foreign (of %s, %s)", count(v.Missing, "line"), v.Duplicate, v.Foreign,
		count(v.Lines, "line"), count(v.Users, "user"))
}

// count is a number of things: "1 line", "2 lines".
func count(n uint64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

func (v *Verdict) problem(format string, args ...any) {
	if len(v.Problems) < maxProblems {
		v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
	}
}

// Check compares the counts with lines. The function lines calls its argument with the two fields of every line, in
// any order, and returns its own errors. before gives the lines of the runs that this one goes on from, in the same way:
// each user's lines below the first of lines must be among them. They may have more lines, since they may have run on.
func Check(want Counts, before, lines func(func(user, count []byte) error) error) (*Verdict, error) {
	v := &Verdict{Users: uint64(len(want))}
	seen, older := newTable(want), newTable(want)
	err := before(func(user, count []byte) error {
		n, ok := older.number(want, user, count)
		if !ok {
			v.Foreign++
			v.problem("user %q has the line %q in an earlier run; the recount is %d", user, count, want[string(user)])
			return nil
		}
		older.set(user, n)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("recount: check: %w", err)
	}
	err = lines(func(user, count []byte) error {
		v.Lines++
		n, ok := seen.number(want, user, count)
		switch {
		case !ok:
			v.Foreign++
			v.problem("user %q has the line %q; the recount is %d", user, count, want[string(user)])
		case seen.has(string(user), n):
			v.Duplicate++
			v.problem("user %q has the line %d more than once", user, n)
		default:
			seen.set(user, n)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("recount: check: %w", err)
	}
	for _, u := range want.Top(len(want)) { // in an order that is the same in every run
		begun := false
		for n := uint64(1); n <= u.Count; n++ {
			switch begun = begun || seen.has(u.User, n); {
			case begun && seen.has(u.User, n):
			case !begun && older.has(u.User, n):
				v.Before++
			default:
				v.Missing++
				v.problem("user %q has no line %d of %d", u.User, n, u.Count)
			}
		}
	}
	return v, nil
}

// table has one bit for each line, by user.
type table map[string][]uint64

func newTable(want Counts) table {
	t := make(table, len(want))
	for user, n := range want {
		t[user] = make([]uint64, n/64+1)
	}
	return t
}

// number is the number of a line; not ok: the recount does not have such a line.
func (t table) number(want Counts, user, count []byte) (n uint64, ok bool) {
	n, err := strconv.ParseUint(string(count), 10, 64)
	return n, err == nil && n >= 1 && t[string(user)] != nil && n <= want[string(user)]
}

func (t table) has(user string, n uint64) bool { return t[user][n/64]&(1<<(n%64)) != 0 }

func (t table) set(user []byte, n uint64) { t[string(user)][n/64] |= 1 << (n % 64) }
