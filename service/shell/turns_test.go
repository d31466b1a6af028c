package shell

import (
	"sync"
	"testing"
	"testing/synctest"
)

// Every function that was put is called once, in order, by one goroutine at a time. The goroutine ends when nothing is left.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q turns
		serving, begun := 0, 0
		serve := func() {
			begun++
			go func() {
				serving++ // the race detector finds two goroutines at a time
				for fs := q.take(nil); fs != nil; fs = q.take(fs) {
					for _, f := range fs {
						f()
					}
				}
			}()
		}
		var got []int
		put := func(n int) {
			if !q.put(func() { got = append(got, n) }) {
				t.Errorf("%d was refused", n)
			}
		}
		put(0)
		synctest.Wait()
		if len(got) > 0 {
			t.Error("a function was called before begin")
		}
		q.begin(serve)
		synctest.Wait()
		put(1)
		q.put(func() { put(2) })
		synctest.Wait()
		put(3)
		synctest.Wait()
		if len(got) != 4 || got[0] != 0 || got[1] != 1 || got[2] != 2 || got[3] != 3 {
			t.Errorf("called: %v, want 0 to 3 in order", got)
		}
		if begun < 3 || serving != begun {
			t.Errorf("%d goroutines were begun, %d served; want one for each time that there was something to do", begun, serving)
		}
		q.close()
		if q.put(func() { t.Error("called after the end") }) {
			t.Error("a closed queue takes functions")
		}
		synctest.Wait()
	})
}

// No function is lost between the end of one goroutine and the begin of the next.
func TestTurnsOfManyCallers(t *testing.T) {
	var q turns
	var calls, all sync.WaitGroup
	sum := 0
	q.begin(func() {
		go func() {
			for fs := q.take(nil); fs != nil; fs = q.take(fs) {
				for _, f := range fs {
					f()
				}
			}
		}()
	})
	const callers, each = 8, 2000
	calls.Add(callers * each)
	for range callers {
		all.Go(func() {
			for range each {
				q.put(func() { sum++; calls.Done() })
			}
		})
	}
	all.Wait()
	calls.Wait()
	if sum != callers*each {
		t.Errorf("%d calls counted, want %d: two goroutines at a time", sum, callers*each)
	}
}
