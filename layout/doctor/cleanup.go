package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	// cleanTime is how long removing everything may take.
	cleanTime = 15 * time.Second
	// cleanPasses is how often it is tried; doubtPasses where a request may still be carried out.
	cleanPasses, doubtPasses = 4, 8
	// staleAge is how much older, by the store's clock, an examination is that has surely ended.
	staleAge = 10 * time.Minute
)

// LeftBehind is the check that is in a report only if something was left on the store.
const LeftBehind = "left behind"

// cleanUp removes everything that the examination made, whatever has happened, and says if it could not.
func (e *exam) cleanUp() {
	e.say("removing what was written")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ops), cleanTime)
	defer cancel()
	e.mu.Lock()
	doubts := e.doubts
	e.mu.Unlock()
	passes := cleanPasses
	if doubts > 0 {
		passes = doubtPasses
	}
	var err error
	var left []string
	for pass := range passes {
		if pass > 0 {
			sleep(ctx, settlePause)
		}
		err = e.removeAll(ctx)
		var listErr error
		left, listErr = list(ctx, e.store, e.prefix)
		if err = errors.Join(err, listErr); err == nil && len(left) == 0 && doubts == 0 {
			break
		}
	}
	switch {
	case errors.Is(err, storage.ErrUnfit) && len(left) == 0: // told already
	case err != nil || len(left) > 0:
		seen := fmt.Sprintf("%s below %s", plural(len(left), "object"), e.prefix)
		if err != nil {
			seen += ": " + err.Error()
		}
		e.add(LeftBehind, ckptdv1.Result_RESULT_WARNING, seen, "Delete them by hand; the next start of a daemon does so, too, if it may.")
	case doubts > 0:
		e.add(LeftBehind, ckptdv1.Result_RESULT_WARNING,
			fmt.Sprintf("nothing, but %s had no answer and may still be carried out below %s", plural(doubts, "request"), e.prefix),
			"Run doctor again, ten minutes from now, or start a daemon: both remove what is there then.")
	default:
		e.purge(ctx)
	}
}

// purge removes what deleting leaves.
func (e *exam) purge(ctx context.Context) {
	if e.facts.Purge == nil {
		return
	}
	n, err := e.facts.Purge(ctx, e.prefix)
	if n == 0 && err == nil {
		return
	}
	what := "old versions"
	if n > 0 {
		what = plural(n, "old version")
	}
	seen := fmt.Sprintf("%s below %s", what, e.prefix)
	if err != nil {
		seen += ": " + err.Error()
	}
	advice := "Delete them by hand, with their delete markers"
	if e.holds {
		advice += ", when the retention has ended"
	} else if e.o.Permission != nil && e.o.Permission("purge") != "" {
		advice += "; doctor does it if whoever runs it has " + e.o.Permission("purge")
	}
	e.add(LeftBehind, ckptdv1.Result_RESULT_WARNING, seen, advice+".")
}

// removeAll removes objects last: as long as one is there, a later examination knows how old this one is.
func (e *exam) removeAll(ctx context.Context) error {
	const batch = 1000
	_, err := e.store.AbortUnfinished(ctx, e.prefix, func(string) bool { return true })
	left, listErr := list(ctx, e.store, e.prefix)
	err = errors.Join(err, listErr)
	e.mu.Lock()
	for _, key := range left {
		e.keys[key] = true
	}
	var keys []string
	for key := range e.keys {
		keys = append(keys, key)
	}
	e.mu.Unlock()
	for len(keys) > 0 {
		n := min(batch, len(keys))
		err = errors.Join(err, firstOf(e.store.Delete(ctx, keys[:n])))
		keys = keys[n:]
	}
	return err
}

// firstOf is the first error of several that mostly say the same.
func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func list(ctx context.Context, s storage.Store, prefix string) (keys []string, err error) {
	for info, err := range s.List(ctx, prefix) {
		if err != nil {
			return keys, err
		}
		keys = append(keys, info.Key)
	}
	return keys, nil
}

// An earlier examination, or start of a daemon, that has left something.
type earlier struct {
	keys   []string
	newest time.Time
}

// earlierOnes finds them below the probes' prefix; what is not of that shape is not ours.
func (e *exam) earlierOnes() (map[string]*earlier, error) {
	found := map[string]*earlier{}
	for info, err := range e.store.List(e.ops, layout.ProbePrefix) {
		if err != nil {
			return nil, err
		}
		nonce, _, folder := strings.Cut(strings.TrimPrefix(info.Key, layout.ProbePrefix), "/")
		if !folder || layout.ValidateNonce(nonce) != nil || strings.HasPrefix(info.Key, e.prefix) {
			continue
		}
		one := found[nonce]
		if one == nil {
			one = &earlier{}
			found[nonce] = one
		}
		one.keys = append(one.keys, info.Key)
		if info.ModTime.After(one.newest) {
			one.newest = info.ModTime
		}
	}
	return found, nil
}

// removeStale removes what examinations and starts left that were killed long ago, by the store's own clock, and says so. Younger ones
// may be at work.
func (e *exam) removeStale() {
	const check = "earlier examinations"
	now, err := e.store.Stat(e.ops, e.prefix+canary)
	if err != nil {
		return
	}
	found, err := e.earlierOnes()
	if err != nil || len(found) == 0 {
		return // that listing fails is found out elsewhere
	}
	var old []string
	stale, young := map[string]bool{}, 0
	for nonce, one := range found {
		if now.ModTime.Sub(one.newest) > staleAge {
			stale[nonce] = true
			old = append(old, one.keys...)
		} else {
			young += len(one.keys)
		}
	}
	if len(stale) > 0 {
		_, err := e.store.AbortUnfinished(e.ops, layout.ProbePrefix, func(key string) bool {
			nonce, _, _ := strings.Cut(strings.TrimPrefix(key, layout.ProbePrefix), "/")
			return stale[nonce]
		})
		if err = errors.Join(err, firstOf(e.store.Delete(e.ops, old))); err != nil {
			e.add(check, ckptdv1.Result_RESULT_WARNING, fmt.Sprintf("%s of killed ones cannot be removed: %v", plural(len(old), "object"), err),
				"Delete what lies below "+layout.ProbePrefix+" by hand.")
			return
		}
		e.ok(check, fmt.Sprintf("%s of killed ones removed", plural(len(old), "object")))
	}
	if young > 0 {
		e.add(check, ckptdv1.Result_RESULT_WARNING, fmt.Sprintf("%s below %s of one that is at work, or was killed less than %v ago",
			plural(young, "object"), layout.ProbePrefix, staleAge), "Nothing, if another one runs; else run doctor again later, or start a daemon: both remove them.")
	}
}
