package clicks

import (
	"bytes"
	"net/netip"
	"strconv"
)

// parseAccess parses `client ident user [time] "request" status ...`, with or without `host:port ` before it. A request
// may hold any characters; servers escape its quotes with a backslash. If the line may mean another client, it is
// refused.
func parseAccess(line []byte) (user []byte, in, ok bool) {
	head, rest, ok := cutTime(line)
	if !ok {
		return nil, false, false
	}
	if user, ok = clientOf(head); !ok {
		return nil, false, false
	}
	in, ok = statusBelow400(rest)
	return user, in, ok
}

// cutTime returns what stands before ` [time] "`, and what stands after it.
func cutTime(line []byte) (head, rest []byte, ok bool) {
	end := bytes.Index(line, []byte("] \""))
	if end < 0 {
		return nil, nil, false
	}
	begin := bytes.LastIndex(line[:end], []byte(" ["))
	if begin < 0 {
		return nil, nil, false
	}
	time := line[begin+2 : end]
	return line[:begin], line[end+3:], len(time) > 0 && !bytes.ContainsAny(time, `[]"`)
}

// statusBelow400 parses `request" status ...`.
func statusBelow400(p []byte) (below, ok bool) {
	i := 0
	for ; i < len(p) && p[i] != '"'; i++ {
		if p[i] == '\\' {
			i++
		}
	}
	if len(p) < i+5 || p[i+1] != ' ' {
		return false, false
	}
	status := p[i+2:]
	if len(status) > 3 && status[3] != ' ' {
		return false, false
	}
	for _, c := range status[:3] {
		if c < '0' || c > '9' {
			return false, false
		}
	}
	return status[0] < '4', status[0] >= '1' && status[0] <= '5'
}

// clientOf returns the client of `client ident user` or of `host:port client ident user`.
func clientOf(head []byte) (client []byte, ok bool) {
	client, names, ok := bytes.Cut(head, []byte(" "))
	if host, port := virtualHost(client); ok && port > 0 {
		client, names, ok = bytes.Cut(names, []byte(" "))
		// A client's own port is 1024 or above. Below it, the port is a server's.
		if port >= 1024 && (isAddress(host) || !isAddress(client)) {
			return nil, false
		}
	}
	if !ok || !isAddress(client) && !isHostName(client) || !areNames(names, isAddress(client)) {
		return nil, false
	}
	return client, true
}

// virtualHost splits the host:port that Apache's format vhost_combined begins with. Port 0: the word has another form.
func virtualHost(word []byte) (host []byte, port int) {
	i := bytes.LastIndexByte(word, ':')
	switch {
	case i < 0:
		return nil, 0
	case i > 1 && word[0] == '[' && word[i-1] == ']': // an address of IPv6
		host = word[1 : i-1]
		if bytes.IndexByte(host, ':') < 0 || !isAddress(host) {
			return nil, 0
		}
	case bytes.IndexByte(word, ':') != i:
		return nil, 0
	default:
		host = word[:i]
		if !isAddress(host) && !isHostName(host) {
			return nil, 0
		}
	}
	n, err := strconv.ParseUint(string(word[i+1:]), 10, 16)
	if err != nil {
		return nil, 0
	}
	return host, int(n)
}

// areNames reports whether p is the two fields after a client: ident and user. A user may have spaces in it. More fields,
// or an address among them, mean that something else than the client may stand first in the line.
func areNames(p []byte, afterAddress bool) bool {
	ident, user, ok := bytes.Cut(p, []byte(" "))
	if !ok || len(ident) == 0 || len(user) == 0 {
		return false
	}
	if string(ident) != "-" && (!afterAddress || bytes.ContainsAny(ident, ".:") || bytes.IndexByte(user, ' ') >= 0) {
		return false
	}
	several := bytes.IndexByte(user, ' ') >= 0
	for word := range bytes.SplitSeq(user, []byte(" ")) {
		if isAddress(word) || several && string(word) == "-" {
			return false
		}
	}
	return true
}

// isAddress reports whether a word is an IP address, also one with a zone.
func isAddress(word []byte) bool {
	if len(word) < 2 || !bytes.ContainsAny(word, ".:") {
		return false
	}
	_, err := netip.ParseAddr(string(word))
	return err == nil
}

// isHostName reports whether a word is a name of the DNS: labels of letters, digits, - and _, the last one no number.
func isHostName(word []byte) bool {
	if len(word) > 253 {
		return false
	}
	number := false
	for label := range bytes.SplitSeq(word, []byte(".")) {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		number = true
		for _, c := range label {
			digit := c >= '0' && c <= '9'
			if !digit && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '_' {
				return false
			}
			number = number && digit
		}
	}
	return !number
}
