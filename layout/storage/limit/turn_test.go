package limit

import "testing"

// A caller that gives up at the moment its turn comes gives the turn back.
func TestTurnGivenBack(t *testing.T) {
	l := New(Budgets{Commit: 1})
	round, err := l.enter(t.Context(), Commit)
	if err != nil {
		t.Fatal(err)
	}
	w := &waiter{turn: make(chan struct{})}
	l.lines[Commit].waiting = append(l.lines[Commit].waiting, w)
	l.leave(Commit, round, nil)
	<-w.turn
	l.giveUp(Commit, w)
	if got := l.Line(Commit); got != (Line{Allowed: 1}) {
		t.Errorf("after giving up: %+v, want 1 allowed and nothing else", got)
	}
}
