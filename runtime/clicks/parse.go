package clicks

import (
	"bytes"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// maxUser is the length of the longest accepted user, in bytes.
const maxUser = 1 << 10

// parse parses a line without its end. The returned user is a part of the line, or a new slice.
func parse(line []byte) (user []byte, in, ok bool) {
	if bytes.IndexByte(line, '\r') >= 0 { // several lines of a file whose lines end with CR
		return nil, false, false
	}
	if trimmed := bytes.TrimLeft(line, " \t"); len(trimmed) > 0 && trimmed[0] == '{' {
		if user, in, ok = parsePlainJSON(trimmed); !ok {
			user, in, ok = parseAnyJSON(trimmed)
		}
	} else {
		user, in, ok = parseAccess(line)
	}
	if len(user) == 0 || len(user) > maxUser {
		return nil, false, false
	}
	return user, in, ok
}

// parsePlainJSON parses only the usual form: the two fields in either order, nothing else, no escapes. It refuses
// other valid JSON, too.
func parsePlainJSON(p []byte) (user []byte, in, ok bool) {
	const known = 3
	seen, p := 0, p[1:]
	for {
		var name []byte
		if name, p, ok = plainString(p); !ok {
			return nil, false, false
		}
		if p = skipSpace(p); len(p) == 0 || p[0] != ':' {
			return nil, false, false
		}
		p = p[1:]
		switch string(name) {
		case "user":
			if user, p, ok = plainString(p); !ok || seen&1 != 0 {
				return nil, false, false
			}
			seen |= 1
		case "logged_in":
			if in, p, ok = plainBool(p); !ok || seen&2 != 0 {
				return nil, false, false
			}
			seen |= 2
		default:
			return nil, false, false
		}
		if p = skipSpace(p); len(p) == 0 {
			return nil, false, false
		}
		switch {
		case p[0] == ',':
			p = p[1:]
		case p[0] == '}' && seen == known && len(skipSpace(p[1:])) == 0:
			return user, in, true
		default:
			return nil, false, false
		}
	}
}

func skipSpace(p []byte) []byte {
	for len(p) > 0 && (p[0] == ' ' || p[0] == '\t' || p[0] == '\r') {
		p = p[1:]
	}
	return p
}

// plainString consumes a string without escapes from p.
func plainString(p []byte) (s, rest []byte, ok bool) {
	p = skipSpace(p)
	if len(p) == 0 || p[0] != '"' {
		return nil, nil, false
	}
	wide := false
	for i := 1; i < len(p); i++ {
		switch c := p[i]; {
		case c == '"':
			return p[1:i], p[i+1:], !wide || utf8.Valid(p[1:i])
		case c == '\\' || c < ' ':
			return nil, nil, false
		case c >= utf8.RuneSelf:
			wide = true
		}
	}
	return nil, nil, false
}

func plainBool(p []byte) (v bool, rest []byte, ok bool) {
	p = skipSpace(p)
	if rest, ok = bytes.CutPrefix(p, []byte("true")); ok {
		return true, rest, true
	}
	rest, ok = bytes.CutPrefix(p, []byte("false"))
	return false, rest, ok
}

// parseAnyJSON reads every other JSON. The library refuses what the rules of JSON between machines (RFC 7493) forbid: a
// name that occurs twice, invalid UTF-8, half a surrogate pair. It compares names of fields in their exact case.
func parseAnyJSON(p []byte) (user []byte, in, ok bool) {
	var click struct {
		User     *string `json:"user"`
		LoggedIn *bool   `json:"logged_in"`
	}
	if err := json.Unmarshal(p, &click); err != nil || click.User == nil || click.LoggedIn == nil {
		return nil, false, false
	}
	return []byte(*click.User), *click.LoggedIn, true
}
