package layout

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ckptd/ckptd/layout/storage"
)

// A journal names the daemon that owns the job. If somebody has copied the root by hand, the copy's journals name the
// daemons of the original. A caller that follows such a name proves which root it means: it writes a fresh object, and
// tells the daemon the object's key. A daemon that does not see the object serves another root.

// proofPrefix begins the last part of the key of a proof.
const proofPrefix = "proof-"

// ProveRoot writes a fresh object, and returns its key and a function that deletes the object.
func ProveRoot(ctx context.Context, s storage.Store) (key string, remove func(), err error) {
	key = ProbePrefix + proofPrefix + NewNonce()
	if err := s.Publish(ctx, key, []byte("ckptd asks a daemon whether it serves this root\n")); err != nil {
		return "", nil, fmt.Errorf("layout: prove which root is meant: %w", err)
	}
	return key, func() { s.Delete(context.WithoutCancel(ctx), []string{key}) }, nil // the next start removes what is left
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
