package clicks

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	const bad = "<unparsable>"
	for line, want := range map[string]string{
		`10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 203023 "http://x/" "Mozilla/5.0"`: "10.0.0.1 true",
		`::1 - bob [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 404 -`:                                   "::1 false",
		`h - a b [x] "GET /\" 200 HTTP" 399 5`:                                                             "h true",
		`h - - [x] "\x16\x03" 400 5`:                                                                       "h false",
		`h - - [x] "" 200`:                                                                                 "h true",
		`h - - [x] "a] \"b" 500 1`:                                                                         "h false",
		`h - - [x] "" 2000`:                                                                                bad,
		`h - - [x] "" 20`:                                                                                  bad,
		`h - - [x] "" 2x0 1`:                                                                               bad,
		`h - - [x] "" 600 1`:                                                                               bad,
		`h - - [x] "\`:                                                                                     bad,
		`h - - x] "" 200 1`:                                                                                bad,
		`h`:                                                                                                bad,
		``:                                                                                                 bad,
		`"h" - - [x] "" 200 1`:                                                                             bad,
		` - - [x] "" 200 1`:                                                                                bad,
		`{"user": "a", "logged_in": true}`:                                                                 "a true",
		`{"logged_in":false,"user":"a"}`:                                                                   "a false",
		"\t{ \"user\" : \"ü\" , \"logged_in\" : true } \t":                   "ü true",
		`{"user":"a\"b","logged_in":true}`:                                   `a"b true`,
		`{"user":"a","logged_in":true,"at":[1,{"user":"x"}]}`:                "a true",
		`{"user":"a","user":"b","logged_in":true}`:                           "b true",
		`{"user":"","logged_in":true}`:                                       bad,
		`{"user":"a"}`:                                                       bad,
		`{"user":"a","logged_in":null}`:                                      bad,
		`{"user":"a","logged_in":"true"}`:                                    bad,
		`{"user":7,"logged_in":true}`:                                        bad,
		`{"user":"a","logged_in":true} x`:                                    bad,
		`{"user":"a","logged_in":true,}`:                                     bad,
		`{"user":"a","logged_in":true`:                                       bad,
		`{`:                                                                  bad,
		`{"user":"` + strings.Repeat("x", maxUser+1) + `","logged_in":true}`: bad,
	} {
		user, in, ok := parse([]byte(line))
		got := bad
		if ok {
			got = fmt.Sprintf("%s %v", user, in)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
}

// FuzzPlainJSON: if parsePlainJSON accepts a line, parseAnyJSON reads the same from it.
func FuzzPlainJSON(f *testing.F) {
	f.Add([]byte(`{"user": "a", "logged_in": true}`))
	f.Add([]byte("{\"user\":\"\xff\",\"logged_in\":true}"))
	f.Add([]byte(`{"user":"\u0041","logged_in":true,"x":1}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		parse(line) // must not panic
		if len(line) == 0 || line[0] != '{' {
			return
		}
		user, in, ok := parsePlainJSON(line)
		if !ok {
			return
		}
		slowUser, slowIn, slowOK := parseAnyJSON(line)
		if !slowOK || slowIn != in || !bytes.Equal(user, slowUser) {
			t.Errorf("%q: the short way reads %q %v, the long way %q %v %v; want the same", line, user, in, slowUser, slowIn, slowOK)
		}
	})
}
