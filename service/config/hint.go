package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// slip is how many letters may be wrong in a key before a key of another part of Flink is meant.
const slip = 2

// refusal describes why a key is refused: ckptd lacks it, or nobody knows it. For an unknown key it suggests the
// nearest known one.
func refusal(key string) string {
	best, distance := nearest(key)
	switch {
	case within(key, lacking()) && (distance > slip || within(best, lacking())):
		return key + " is an option of Flink that ckptd does not have"
	case best == "":
		return key + " is unknown"
	}
	return fmt.Sprintf("%s is unknown; did you mean %s?", key, best)
}

// nearest returns the known key that comes nearest to a key, and its distance; empty: none is near.
func nearest(key string) (best string, distance int) {
	distance = len(key)/3 + 1
	consider := func(name, meant string) {
		if d := apart(key, name); d < distance {
			best, distance = meant, d
		}
	}
	for _, o := range options() {
		for _, name := range append([]string{o.key}, o.old...) {
			consider(name, o.key)
		}
	}
	for _, name := range lacking() {
		consider(name, name)
	}
	return best, distance
}

// apart counts in how much a written key differs from a known one. People often remember only the last part of a key,
// or write one word too many: "min-pause-between-checkpoints" is the name of Flink's method for "min-pause".
func apart(key, name string) int {
	parent, last := cutLast(key)
	nameParent, nameLast := cutLast(name)
	d := levenshtein.ComputeDistance(key, name)
	if strings.HasSuffix(name, "."+key) { // only the beginning is missing
		d = 1
	}
	if parent == "" {
		d = min(d, levenshtein.ComputeDistance(last, nameLast))
		nameParent = ""
	}
	if w := wordsApart(last, nameLast); w >= 0 {
		d = min(d, w+levenshtein.ComputeDistance(parent, nameParent))
	}
	return d
}

// wordsApart counts in how many words the last parts of two keys differ. A word that the shorter one has alone counts
// three times. It is negative if they have no telling word in common.
func wordsApart(a, b string) int {
	as, bs := words(a), words(b)
	if len(as) > len(bs) {
		as, bs = bs, as
	}
	telling, missing := false, 0
	for _, word := range as {
		i := slices.IndexFunc(bs, func(other string) bool { return alike(word, other) })
		if i < 0 {
			missing++
			continue
		}
		telling = telling || word == bs[i] && !alike(word, "checkpoints") && word != "enabled"
		bs = slices.Delete(bs, i, i+1)
	}
	if !telling || missing > 1 {
		return -1
	}
	return 1 + 3*missing + len(bs) - missing
}

// alike tells whether two words have the same stem: one begins with the other, or both with the same four letters.
func alike(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	return len(a) >= 3 && strings.HasPrefix(b, a) || len(a) >= 4 && a[:4] == b[:4]
}

func words(s string) []string {
	return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return r == '-' || r == '_' || r == ' ' })
}

// cutLast cuts a key before its last part.
func cutLast(key string) (parent, last string) {
	i := strings.LastIndexByte(key, '.')
	return key[:max(i, 0)], key[i+1:]
}
