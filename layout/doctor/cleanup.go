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
	// cleanTime bounds the clean-up.
	cleanTime = 15 * time.Second
	// cleanPasses is how often the clean-up is tried; unknownPasses is for the case that a request may still be
	// carried out.
	cleanPasses, unknownPasses = 4, 8
	// staleAge is the age, by the store's clock, at which an examination has surely ended.
	staleAge = 10 * time.Minute
)

// LeftBehind is the name of the check that a report has only if something was left on the store.
const LeftBehind = "left behind"

// cleanUp removes everything that the examination made, after any outcome, and adds a finding if it could not.
func (e *exam) cleanUp() {
	e.say("removing what was written")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ops), cleanTime)
	defer cancel()
	e.mu.Lock()
	unknowns := e.unknowns
	e.mu.Unlock()
	passes := cleanPasses
	if unknowns > 0 {
		passes = unknownPasses
	}
	var err error
	var left []string
	for pass := range passes {
		if pass > 0 {
			sleep(ctx, recheckPause)
		}
		err = e.removeAll(ctx)
		var listErr error
		left, listErr = list(ctx, e.store, e.prefix)
		if err = errors.Join(err, listErr); err == nil && len(left) == 0 && unknowns == 0 {
			break
		}
	}
	switch {
	case errors.Is(err, storage.ErrUnfit) && len(left) == 0: // a finding says so already
	case err != nil || len(left) > 0:
		seen := fmt.Sprintf("%s below %s", plural(len(left), "object"), e.prefix)
		if err != nil {
			seen += ": " + err.Error()
		}
		e.add(LeftBehind, ckptdv1.Result_RESULT_WARNING, seen, "Delete them by hand; the next start of a daemon does so, too, if it may.")
	case unknowns > 0:
		e.add(LeftBehind, ckptdv1.Result_RESULT_WARNING,
			fmt.Sprintf("nothing, but %s had no answer and may still be carried out below %s", plural(unknowns, "request"), e.prefix),
			"Run doctor again, ten minutes from now, or start a daemon: both remove what is there then.")
	default:
		e.purge(ctx)
	}
}

// purge removes the old versions that deletes leave.
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

// removeAll removes objects last: from a remaining object a later examination can tell the age of this one.
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
		err = errors.Join(err, firstError(e.store.Delete(ctx, keys[:n])))
		keys = keys[n:]
	}
	return err
}

// firstError returns the first error of several that mostly say the same.
func firstError(errs []error) error {
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

// An earlier is an earlier examination, or start of a daemon, that has left objects.
type earlier struct {
	keys   []string
	newest time.Time
}

// earlierOnes finds them below the probes' prefix. Objects with other names are not ours.
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

// removeStale removes what examinations and starts left that were killed long ago, by the store's clock, and adds a
// finding. Younger ones may still be running.
func (e *exam) removeStale() {
	const check = "earlier examinations"
	now, err := e.store.Stat(e.ops, e.prefix+canary)
	if err != nil {
		return
	}
	found, err := e.earlierOnes()
	if err != nil || len(found) == 0 {
		return // another check reports a listing that fails
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
		if err = errors.Join(err, firstError(e.store.Delete(e.ops, old))); err != nil {
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
