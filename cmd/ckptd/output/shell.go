package output

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"al.essio.dev/pkg/shellescape"
)

// ShellWord spells s as one word for a shell, so that a printed command can be pasted whatever a path holds. The word
// sends nothing to a terminal: printf spells characters that are not printable.
func ShellWord(s string) string {
	if !strings.ContainsFunc(s, strange) {
		return shellescape.Quote(s)
	}
	var word, plain strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			word.WriteString(shellescape.Quote(plain.String()))
			plain.Reset()
		}
	}
	for s != "" {
		r, size := utf8.DecodeRuneInString(s)
		if strange(r) {
			flush()
			for _, b := range []byte(s[:size]) {
				fmt.Fprintf(&word, `"$(printf '\%03o')"`, b)
			}
		} else {
			plain.WriteString(s[:size])
		}
		s = s[size:]
	}
	flush()
	return word.String()
}

// strange reports whether a character must not be printed as it is. A newline within quotes does no harm.
func strange(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) && r != '\n' }
