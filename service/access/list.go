package access

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// leastToken is the length of the shortest token in characters. A short token can be found by trying.
const leastToken = 20

// list is what an access file says.
type list []entry

// entry is one line: somebody, their roles, and how they prove who they are.
type entry struct {
	name  string
	roles Roles
	// sum is the SHA-256 of the token. A token is long and random, so it needs neither salt nor a slow hash.
	sum [sha256.Size]byte
	// certificate is true if a client certificate with the name is the proof; there is no token then.
	certificate bool
}

// form is what a line has to look like.
const form = "want NAME ROLES PROOF, as: clicks run sha256:HEX"

// parseList reads an access file. The errors repeat nothing from the file, since a token may stand in any place.
func parseList(data []byte) (list, error) {
	var l list
	var bad []error
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		e, err := parseEntry(words)
		if err != nil {
			bad = append(bad, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		l = append(l, e)
	}
	if lines.Err() != nil {
		bad = append(bad, errors.New("a line is longer than 64 KiB"))
	}
	if err := errors.Join(bad...); err != nil {
		return nil, err
	}
	if len(l) == 0 {
		return nil, errors.New("it has no line, so nobody may call the daemon: " + form)
	}
	return l, nil
}

func parseEntry(words []string) (e entry, err error) {
	if len(words) != 3 {
		return e, fmt.Errorf("%d words: %s", len(words), form)
	}
	var ok bool
	if e.roles, ok = parseRoles(words[1]); !ok {
		return e, fmt.Errorf("the second word has an unknown role: the roles are %s, with commas between them", strings.Join(names, ", "))
	}
	e.name = words[0]
	kind, proof, _ := strings.Cut(words[2], ":")
	switch kind {
	case "certificate":
		e.certificate = true
	case "token":
		if len(proof) < leastToken {
			return e, fmt.Errorf("the token has fewer than %d characters: `openssl rand -hex 32` makes a good one", leastToken)
		}
		e.sum = sha256.Sum256([]byte(proof))
	case "sha256":
		if n, err := hex.Decode(e.sum[:], fit(proof)); err != nil || n != len(e.sum) {
			return e, fmt.Errorf("the sum is not the SHA-256 of a token: want %d hexadecimal digits", 2*len(e.sum))
		}
	default:
		return e, errors.New("the third word is no proof: want sha256:HEX, token:TOKEN or certificate")
	}
	return e, nil
}

// fit returns the digits if they are as many as a sum has, else none.
func fit(digits string) []byte {
	if len(digits) != 2*sha256.Size {
		return nil
	}
	return []byte(digits)
}

// byToken finds the line of a token. It compares every sum in constant time.
func (l list) byToken(token string) (found entry, ok bool) {
	sum := sha256.Sum256([]byte(token))
	for _, e := range l {
		if subtle.ConstantTimeCompare(e.sum[:], sum[:]) == 1 && !e.certificate {
			found, ok = e, true
		}
	}
	return found, ok
}

// byCertificate finds the first line that names the certificate: by its common name, or by one of its alternative names.
func (l list) byCertificate(c *x509.Certificate) (entry, bool) {
	called := slices.Concat([]string{c.Subject.CommonName}, c.DNSNames, c.EmailAddresses)
	for _, u := range c.URIs {
		called = append(called, u.String())
	}
	for _, e := range l {
		if e.certificate && slices.Contains(called, e.name) {
			return e, true
		}
	}
	return entry{}, false
}
