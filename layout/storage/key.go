package storage

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// TempElement is the path element below which drivers keep unfinished files that need a name. No key contains it.
const TempElement = "_tmp"

// ValidateKey returns an error if key cannot name an object: it is empty or absolute, has a control character, or is
// not UTF-8. No element may be empty, ".", ".." or TempElement, or have more than 255 bytes.
//
// One key must not be the folder of another, because stores with real folders cannot keep both. No driver checks
// this.
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

// ValidatePrefix returns an error if prefix cannot be listed: it must be "" or a key followed by "/".
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
