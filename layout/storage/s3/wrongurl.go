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

// shown is what errors repeat of a wrong URL: bucket and prefix, if they can be told from everything else. A part that
// cannot be parsed may be a secret, and so may the value of any parameter.
func shown(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || strings.Contains(raw, "@") || !bucketName.MatchString(u.Host) {
		return ""
	}
	return (&url.URL{Scheme: schemes[0], Host: u.Host, Path: u.Path}).String() + ": "
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
	case u.Host == "":
		place := strings.Trim(u.Opaque+u.Path, "/")
		if bucket, _, _ := strings.Cut(place, "/"); bucketName.MatchString(bucket) {
			return fmt.Errorf("no bucket; want two slashes before it: s3://%s", place)
		}
		return errors.New("no bucket; want two slashes before it")
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
	if !parameterName.MatchString(name) {
		return fmt.Errorf("the query is not of the form name=value&name=value (names are %s)", strings.Join(names, ", "))
	}
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

// parameterName is the form of names that errors repeat.
var parameterName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// hostPort is the form of a server's address without a scheme.
var hostPort = regexp.MustCompile(`^[A-Za-z0-9.-]+(?::[0-9]+)?$`)

// checkEndpoint accepts only the bare address of a server.
func checkEndpoint(value string) error {
	u, err := url.Parse(value)
	switch {
	case strings.Contains(value, "@"):
		return errCredentials
	case hostPort.MatchString(value):
		return fmt.Errorf("endpoint=%s: want http://host:port or https://host: endpoint=http://%s", value, value)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return errors.New("endpoint: want http://host:port or https://host, and nothing after it")
	case strings.Trim(u.Path, "/") != "":
		return fmt.Errorf("endpoint: want no path there (the bucket stands after s3://): endpoint=%s://%s", u.Scheme, u.Host)
	}
	return nil
}
