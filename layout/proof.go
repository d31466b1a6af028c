package layout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ckptd/ckptd/layout/storage"
)

// A journal names the daemon that owns the job. If somebody has copied the root by hand, the copy's journals name the
// daemons of the original. A caller that follows such a name proves which root it means: it writes a fresh object, and
// tells the daemon the object's key. A daemon that does not see the object serves another root.

// proofPrefix begins the last part of the key of a proof.
const proofPrefix = "proof-"

// proofAge is the age, by the store's clock, at which the call that a proof was written for has surely ended. Until then no
// start removes the proof: the call would be refused as one that means another root.
const proofAge = time.Hour

func isProof(key string) bool { return strings.HasPrefix(key, ProbePrefix+proofPrefix) }

// ProveRoot writes a fresh object, and returns its key and a function that deletes the object.
func ProveRoot(ctx context.Context, s storage.Store) (key string, remove func(), err error) {
	for range opTries {
		key = ProbePrefix + proofPrefix + NewNonce()
		err = s.Publish(ctx, key, []byte("ckptd asks a daemon whether it serves this root\n"))
		if err == nil || isOpen(err) || ctx.Err() != nil {
			break // else a start may have removed the temporary file
		}
	}
	if err != nil {
		return "", nil, fmt.Errorf("layout: prove which root is meant: %w", err)
	}
	return key, func() { s.Delete(context.WithoutCancel(ctx), []string{key}) }, nil // a start removes what is left
}

// SeesProof tells whether an object of ProveRoot is there.
func SeesProof(ctx context.Context, s storage.Store, key string) (bool, error) {
	nonce, ok := strings.CutPrefix(key, ProbePrefix+proofPrefix)
	if !ok || ValidateNonce(nonce) != nil {
		return false, fmt.Errorf("layout: proof %q: %w", clip(key), ErrName)
	}
	_, err := s.Stat(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
