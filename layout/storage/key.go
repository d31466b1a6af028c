package storage

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// TempElement is the path element below which drivers keep unfinished things that need a name. No key contains it.
const TempElement = "_tmp"

// ValidateKey says why key cannot name an object: it is empty or absolute, has an empty element, ".", ".." or TempElement, an
// element of more than 255 bytes, a control character, or is not UTF-8. (Nor may one key be the folder of another: stores with real
// folders cannot keep both. That no driver checks.)
func ValidateKey(key string) error {
	if key == "" {
		return fmt.Errorf("invalid key: empty")
	}
	if !utf8.ValidString(key) {
		return fmt.Errorf("invalid key %q: not UTF-8", key)
	}
	if i := strings.IndexFunc(key, isControl); i >= 0 {
		return fmt.Errorf("invalid key %q: control character", key)
	}
	for element := range strings.SplitSeq(key, "/") {
		switch {
		case element == "":
			return fmt.Errorf("invalid key %q: empty element", key)
		case element == "." || element == ".." || element == TempElement:
			return fmt.Errorf("invalid key %q: element %q", key, element)
		case len(element) > 255:
			return fmt.Errorf("invalid key %q: element of more than 255 bytes", key)
		}
	}
	return nil
}

// ValidatePrefix says why prefix cannot be listed: it is neither "" nor a key followed by "/".
func ValidatePrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	key, ok := strings.CutSuffix(prefix, "/")
	if !ok {
		return fmt.Errorf("invalid prefix %q: does not end with \"/\"", prefix)
	}
	return ValidateKey(key)
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }
