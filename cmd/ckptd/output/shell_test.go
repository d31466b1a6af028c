package output

import (
	"os/exec"
	"strings"
	"testing"
	"unicode"
)

func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{
		"file:///a/b":          "file:///a/b",
		"s3://b/p?region=r&x":  "'s3://b/p?region=r&x'",
		"file:///it's a place": `'file:///it'"'"'s a place'`,
		"":                     "''",
	} {
		if got := ShellWord(word); got != want {
			t.Errorf("ShellWord(%q) = %s, want %s", word, got, want)
		}
	}
}

// A shell reads back each word as it was, and no word can send commands to a terminal.
func TestAShellReadsTheWord(t *testing.T) {
	words := []string{
		"/tmp/t m p", "it's", `a"b`, "$HOME", "`id`", "$(id)", "a;b", "a\\b", "*", "?", "~", "~root/x", "#x", "!x", "a=b", "-n", "{a,b}", "[ab]", "a|b>c<d&e", "tab\there",
		"new\nline", "end\n", "\nbegin", "\x1b[31mred", "bell\a", "\xff\xfe", "ü", "\u200b", "\u202e", "a\x1b b'c\x7f", "%s%d", "\r",
	}
	for b := 1; b < 256; b++ {
		words = append(words, "x"+string([]byte{byte(b)})+"y")
	}
	for _, word := range words {
		quoted := ShellWord(word)
		if strings.ContainsFunc(quoted, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
			t.Errorf("%q is spelt %q, want only printable characters", word, quoted)
		}
		got, err := exec.Command("sh", "-c", "printf '%s.' "+quoted).Output()
		if err != nil || string(got) != word+"." {
			t.Errorf("a shell reads %s as %q, %v; want %q", quoted, got, err, word+".")
		}
	}
}
