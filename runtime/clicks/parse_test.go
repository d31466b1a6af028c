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
		`{"user":"a","user":"b","logged_in":true}`:                           bad,
		`{"user":"a","logged_in":true,"at":{"x":1,"x":2}}`:                   bad,
		`{"user":"a","User":"b","LOGGED_IN":false,"logged_in":true}`:         "a true",
		`{"User":"a","logged_in":true}`:                                      bad,
		"{\"user\":\"a\xff\",\"logged_in\":true}":                            bad,
		"{\"user\":\"a\",\"logged_in\":true,\"x\":\"\xc0\x80\"}":             bad,
		`{"user":"a\ud83d","logged_in":true}`:                                bad,
		`{"user":"a\udc00","logged_in":true}`:                                bad,
		`{"user":"a\ud83d\ude00","logged_in":true}`:                          "a😀 true",
		`{"user":"a","logged_in":true,"n":1e999}`:                            "a true",
		"{\"user\":\"a\",\r\"logged_in\":true}":                              bad,
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

// A line counts for its client, or for nobody: what stands first in a line may be something else.
func TestClientOfAnAccessLog(t *testing.T) {
	for head, want := range map[string]string{
		"203.0.113.9 - -":                                          "203.0.113.9",
		"203.0.113.9 - mary ann":                                   "203.0.113.9",
		"203.0.113.9 ident mary":                                   "203.0.113.9",
		"2001:db8::7 - -":                                          "2001:db8::7",
		"fe80::2%eth1 - -":                                         "fe80::2%eth1",
		"dsl-7.example.org - -":                                    "dsl-7.example.org",
		"_srv.host_1.example.org - -":                              "_srv.host_1.example.org",
		"www.example.org:443 203.0.113.9 - -":                      "203.0.113.9",
		"www.example.org:8443 203.0.113.9 - mary":                  "203.0.113.9",
		"www.example.org:80 dsl-7.example.org - -":                 "dsl-7.example.org",
		"127.0.1.1:80 2001:db8::7 - -":                             "2001:db8::7",
		"[2001:db8::1]:443 203.0.113.9 - -":                        "203.0.113.9",
		"[2001:db8::1]:80 2001:db8::7 - mary":                      "2001:db8::7",
		"[2001:db8::1]:8443 203.0.113.9 - -":                       "",
		"[2001:db8::1] 203.0.113.9 - -":                            "",
		"[203.0.113.1]:80 203.0.113.9 - -":                         "",
		"127.0.1.1:51234 203.0.113.9 - -":                          "", // a client's port
		"dsl-7.example.org:51234 www.example.org - -":              "",
		"www.example.org:70000 203.0.113.9 - -":                    "",
		"www.example.org:443 - - -":                                "",
		"www.example.org:443":                                      "",
		"www.example.org 203.0.113.9 - -":                          "",
		"www.example.org dsl-7.example.org - -":                    "",
		"www.example.org - 203.0.113.9":                            "",
		"www.example.org - dsl-7.example.org - -":                  "",
		"10.0.0.1 203.0.113.9 - -":                                 "",
		"10.0.0.1, 203.0.113.9 - -":                                "",
		"May 17 10:05:03 web1 nginx: 203.0.113.9 - -":              "",
		"May 17 10:05:03 web1 nginx: dsl-7.example.org - -":        "",
		"<134>1 2015-05-17T10:05:03Z web1 - - - - 203.0.113.9 - -": "",
		"\xef\xbb\xbf203.0.113.9 - -":                              "",
		"\x00203.0.113.9 - -":                                      "",
		"[::1] - -":                                                "",
		"- - -":                                                    "",
		"203.0.113.9:5555 - -":                                     "",
		"203.0.113.256 - -":                                        "",
		"203.0.113 - -":                                            "",
		"12345 - -":                                                "",
		"-x.example.org - -":                                       "",
		"x..example.org - -":                                       "",
		"ex/ample - -":                                             "",
		"bücher.example - -":                                       "",
		"203.0.113.9 -":                                            "",
		"203.0.113.9 - ":                                           "",
		"203.0.113.9  - -":                                         "",
		" 203.0.113.9 - -":                                         "",
		"203.0.113.9\t-\t-":                                        "",
	} {
		user, _, ok := parse([]byte(head + ` [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5`))
		if ok != (want != "") || string(user) != want {
			t.Errorf("%q: user %q, %v; want %q", head, user, ok, want)
		}
	}
	for _, line := range []string{
		`h - - [x] 0.003 "GET / HTTP/1.1" 200 5`, `h - - [x] 0.003 "GET /] "x" 200 5`, `h - - [x]  "GET / HTTP/1.1" 200 5`, `h - - [] "GET / HTTP/1.1" 200 5`,
		"h - - [x] \"GET / HTTP/1.1\" 200 5\rh - - [x] \"GET / HTTP/1.1\" 200 5",
	} {
		if user, _, ok := parse([]byte(line)); ok {
			t.Errorf("%q counts for %q, want it to be no click", line, user)
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
