package s3

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

var errCredentials = errors.New("credentials in a URL end up in logs; give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or as profile=")

// secretNames matches the names of parameters that users invent for credentials.
var secretNames = regexp.MustCompile(`(?i)^(?:.*[._-])?(?:access.?key.*|secret.*|.*token|.*password|credentials?)$`)

// withoutSecrets removes what may be a secret: everything before an @, where URLs hold credentials, and the values of
// parameters for credentials. It works on URLs that cannot be parsed, too; secret keys have slashes in them.
func withoutSecrets(raw string) string {
	base, query, found := strings.Cut(raw, "?")
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if at := strings.LastIndexByte(value, '@'); at >= 0 {
			pair = name + "=…" + value[at:]
		}
		if secretNames.MatchString(name) {
			pair = name + "=…"
		}
		kept = append(kept, pair)
	}
	if at := strings.LastIndexByte(base, '@'); at >= 0 {
		scheme, _, _ := strings.Cut(base, ":")
		base = scheme + "://…" + base[at:]
	}
	if !found {
		return base
	}
	return base + "?" + strings.Join(kept, "&")
}

// checkPlace checks everything in a URL but its parameters.
func checkPlace(u *url.URL) error {
	at := strings.Contains(u.Path, "@")
	switch {
	case !slices.Contains(schemes, u.Scheme):
		return fmt.Errorf("scheme %q, want s3", u.Scheme)
	case u.User != nil, strings.Contains(u.Host, ":") && at, u.Host == "" && (at || strings.Contains(u.Opaque, "@")):
		return errCredentials
	case u.Fragment != "":
		return errors.New("a # begins a fragment; write it as %23")
	case u.Host == "" && strings.Trim(u.Opaque+u.Path, "/") != "":
		return fmt.Errorf("no bucket; want two slashes before it: s3://%s", strings.Trim(u.Opaque+u.Path, "/"))
	case u.Host == "":
		return errors.New("no bucket")
	}
	return checkBucket(u.Host)
}

var bucketName = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$`)

func checkBucket(name string) error {
	_, notAddress := netip.ParseAddr(name)
	switch {
	case strings.Contains(name, ":"), notAddress == nil:
		return fmt.Errorf("the place of the bucket holds %q; a server's address goes into endpoint=http://%s", name, name)
	case bucketName.MatchString(name):
		return nil
	case name != strings.ToLower(name) && bucketName.MatchString(strings.ToLower(name)):
		return fmt.Errorf("bucket %q: names of buckets have no upper case; %q is another", name, strings.ToLower(name))
	}
	return fmt.Errorf("bucket %q: want up to 63 of a to z, 0 to 9, - and . (no underscores), a letter or digit first and last", name)
}

// unknown returns the error for a parameter that does not exist; it names the parameter that may be meant.
func unknown(name string, known map[string]parameter) error {
	if secretNames.MatchString(name) {
		return errCredentials
	}
	names := slices.Sorted(maps.Keys(known))
	for _, right := range names {
		if near(name, right) {
			return fmt.Errorf("unknown parameter %q; did you mean %s=?", name, right)
		}
	}
	return fmt.Errorf("unknown parameter %q (there are %s)", name, strings.Join(names, ", "))
}

// near reports whether name is another tool's spelling of right (pathStyle, endpoint_url, s3.path-style), or has up
// to two wrong letters.
func near(name, right string) bool {
	letters := strings.NewReplacer("_", "", "-", "", ".", "")
	name, right = letters.Replace(strings.ToLower(name)), letters.Replace(right)
	return len(right) > 3 && strings.Contains(name, right) || len(name) > 3 && strings.Contains(right, name) ||
		levenshtein.ComputeDistance(name, right) <= min(2, len(right)/2)
}

// checkEndpoint accepts only the bare address of a server.
func checkEndpoint(value string) error {
	u, err := url.Parse(value)
	switch {
	case strings.Contains(value, "@"):
		return errCredentials
	case !strings.Contains(value, "://") && value != "" && !strings.ContainsAny(value, "/?#"):
		return fmt.Errorf("endpoint=%s: want http://host:port or https://host: endpoint=http://%s", value, value)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("endpoint=%s: want http://host:port or https://host", value)
	case strings.Trim(u.Path, "/") != "":
		return fmt.Errorf("endpoint=%s: want no path there (the bucket stands after s3://): endpoint=%s://%s", value, u.Scheme, u.Host)
	}
	return nil
}
