package retention

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseRules reads rules as text: "last=3, hourly=24, daily=7". Each number is 1 or more, and all together are most at most.
func ParseRules(text string, most int) (Rules, error) {
	var r Rules
	counts := map[string]*int{"last": &r.Last, "hourly": &r.Hourly, "daily": &r.Daily, "weekly": &r.Weekly, "monthly": &r.Monthly, "yearly": &r.Yearly}
	allowed := fmt.Sprintf("allowed is last, hourly, daily, weekly, monthly, yearly, each once with a number, %d together at most, as last=3, daily=7", most)
	sum := 0
	for part := range strings.SplitSeq(text, ",") {
		name, number, _ := strings.Cut(strings.TrimSpace(part), "=")
		to := counts[strings.TrimSpace(name)]
		n, err := strconv.Atoi(strings.TrimSpace(number))
		if to == nil || err != nil || n < 1 || n > most || *to != 0 {
			return Rules{}, fmt.Errorf("%q is no rule; %s", strings.TrimSpace(part), allowed)
		}
		*to = n
		sum += n
	}
	if sum > most {
		return Rules{}, fmt.Errorf("%q keeps %d savepoints; %s", text, sum, allowed)
	}
	return r, nil
}
