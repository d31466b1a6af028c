package recount

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// click is what a line says.
type click struct {
	user string
	in   bool
}

const longestUser = 1024

// read reads a line without its end. Its error says why the line is no click.
func read(line string) (c click, err error) {
	text := strings.Trim(line, " \t")
	switch {
	case text == "":
		err = errors.New("it is empty")
	case strings.Contains(line, "\r"):
		err = errors.New("a carriage return stands within it")
	case text[0] == '{':
		c, err = readJSON(strings.TrimLeft(line, " \t"))
	default:
		c, err = readAccess(line)
	}
	if err == nil && (c.user == "" || len(c.user) > longestUser) {
		err = fmt.Errorf("a user of %d bytes; want 1 to %d", len(c.user), longestUser)
	}
	return c, err
}

var (
	statusPart = regexp.MustCompile(`^ ([1-5])[0-9][0-9](?: |$)`)
	hostName   = regexp.MustCompile(`^(?:[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?\.)*[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?$`)
	number     = regexp.MustCompile(`^[0-9]+$`)
)

// readAccess reads a line of an access log.
func readAccess(line string) (click, error) {
	before, after, ok := strings.Cut(line, `] "`)
	if !ok {
		return click{}, errors.New(`no [time] with a "request" after it`)
	}
	at := strings.LastIndex(before, " [")
	if at < 0 || at+2 == len(before) || strings.ContainsAny(before[at+2:], `[]"`) {
		return click{}, errors.New(`no [time] before the "request"`)
	}
	escaped := false
	end := strings.IndexFunc(after, func(c rune) bool {
		quote := c == '"' && !escaped
		escaped = c == '\\' && !escaped
		return quote
	})
	if end < 0 {
		return click{}, errors.New("the request has no end")
	}
	status := statusPart.FindStringSubmatch(after[end+1:])
	if status == nil {
		return click{}, errors.New("no status of HTTP (100 to 599) after the request")
	}
	client, err := client(strings.Split(before[:at], " "))
	return click{client, status[1] < "4"}, err
}

// client finds the client in the words before the time: client, ident, user, perhaps after a virtual host.
func client(words []string) (string, error) {
	if host, port, ok := serverAndPort(words[0]); ok {
		if words = words[1:]; len(words) == 0 {
			return "", errors.New("no client after the virtual host")
		}
		if port > 1023 && (isIP(host) || !isIP(words[0])) {
			return "", fmt.Errorf("%.80q may be a client with its port, or a server", host+":"+strconv.Itoa(port))
		}
	}
	who := words[0]
	switch {
	case !isIP(who) && !isHost(who):
		return "", fmt.Errorf("the client %.80q is neither an IP address nor a host name", who)
	case len(words) < 3 || words[1] == "" || len(words) == 3 && words[2] == "":
		return "", errors.New("want client, ident and user before the time")
	}
	for _, w := range words[2:] {
		if isIP(w) || w == "-" && len(words) > 3 {
			return "", fmt.Errorf("%.80q stands before the client, or the user is strange", who)
		}
	}
	if ident := words[1]; ident != "-" && (!isIP(who) || len(words) > 3 || strings.ContainsAny(ident, ".:")) {
		return "", fmt.Errorf("%.80q stands before the client, or the ident %.80q is strange", who, ident)
	}
	return who, nil
}

func serverAndPort(word string) (host string, port int, ok bool) {
	if inner, text, found := strings.Cut(strings.TrimPrefix(word, "["), "]:"); found && word[0] == '[' && strings.Contains(inner, ":") && isIP(inner) && number.MatchString(text) {
		port, err := strconv.Atoi(text)
		return inner, port, err == nil && port > 0 && port < 65536
	}
	parts := strings.Split(word, ":")
	if len(parts) != 2 || !number.MatchString(parts[1]) || !isIP(parts[0]) && !isHost(parts[0]) {
		return "", 0, false
	}
	port, err := strconv.Atoi(parts[1])
	return parts[0], port, err == nil && port > 0 && port < 65536
}

func isIP(word string) bool {
	if !strings.ContainsAny(word, ":.") {
		return false
	}
	a, err := netip.ParseAddr(word)
	return err == nil && a.IsValid()
}

func isHost(word string) bool {
	last := word[strings.LastIndex(word, ".")+1:]
	return len(word) < 254 && hostName.MatchString(word) && !number.MatchString(last)
}

// readJSON reads one object by RFC 7493: no name twice in an object, valid UTF-8, whole surrogate pairs. Names of fields
// are compared exactly.
func readJSON(line string) (c click, err error) {
	switch {
	case !utf8.ValidString(line):
		return c, errors.New("it is not valid UTF-8")
	case !json.Valid([]byte(line)):
		return c, errors.New("it is not one object of JSON")
	case halfPair(line):
		return c, errors.New(`half a surrogate pair (\ud800 to \udfff)`)
	}
	tokens := json.NewDecoder(bytes.NewReader([]byte(line)))
	tokens.UseNumber()
	object := fields{}
	if err := object.read(tokens); err != nil {
		return c, err
	}
	user, hasUser := object["user"].(string)
	in, hasIn := object["logged_in"].(bool)
	switch {
	case !hasUser:
		return c, errors.New(`no field "user" with a string`)
	case !hasIn:
		return c, errors.New(`no field "logged_in" with true or false`)
	}
	return click{user, in}, nil
}

// fields are the scalars of an object, by the names of their fields. Objects and arrays are only checked.
type fields map[string]any

// read reads the next value, which is valid, and keeps its fields if it is an object.
func (f fields) read(tokens *json.Decoder) error {
	type level struct {
		names   map[string]bool // nil in an array
		name    string
		hasName bool
	}
	var open []level
	for {
		token, err := tokens.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('}'), json.Delim(']'):
			if open = open[:len(open)-1]; len(open) == 0 {
				return nil
			}
			open[len(open)-1].hasName = false
			continue
		}
		if top := len(open) - 1; top >= 0 && open[top].names != nil && !open[top].hasName {
			name := token.(string)
			if open[top].names[name] {
				return fmt.Errorf("the field %.80q occurs twice", name)
			}
			open[top].names[name], open[top].name, open[top].hasName = true, name, true
			continue
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{names: map[string]bool{}})
			continue
		case json.Delim('['):
			open = append(open, level{})
			continue
		}
		if top := len(open) - 1; top >= 0 {
			if top == 0 && open[0].names != nil {
				f[open[0].name] = token
			}
			open[top].hasName = false
		}
	}
}

var (
	escapes = regexp.MustCompile(`\\(?:u[0-9a-fA-F]{4}|[^u])`)
	high    = regexp.MustCompile(`^\\u[dD][89abAB]`)
	low     = regexp.MustCompile(`^\\u[dD][c-fC-F]`)
)

// halfPair reports whether valid JSON has an escape of one half of a surrogate pair without the other half.
func halfPair(line string) bool {
	found := escapes.FindAllStringIndex(line, -1)
	for i := 0; i < len(found); i++ {
		at := found[i]
		switch escape := line[at[0]:at[1]]; {
		case low.MatchString(escape):
			return true
		case high.MatchString(escape):
			if i++; i == len(found) || found[i][0] != at[1] || !low.MatchString(line[found[i][0]:found[i][1]]) {
				return true
			}
		}
	}
	return false
}
