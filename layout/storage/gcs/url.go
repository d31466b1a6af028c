package gcs

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Config says where a store is and how to reach it. Only Bucket is required. Credentials are not part of it: Google's
// library finds them.
type Config struct {
	Bucket string
	// Prefix of all keys, without slashes at its ends; may be empty.
	Prefix string
	// Endpoint is the URL of a server that is not Google's usual one. If empty, STORAGE_EMULATOR_HOST may name one.
	Endpoint string
	// Anonymous sends no credentials. It is always so over http, and with STORAGE_EMULATOR_HOST.
	Anonymous bool
	// CAFile is a file of PEM certificates to trust beside the system's.
	CAFile string
	// KMSKey encrypts new objects: projects/P/locations/L/keyRings/R/cryptoKeys/K.
	KMSKey string
	// StorageClass of new objects.
	StorageClass string
	// UserProject is billed for the requests, for a bucket where the requester pays.
	UserProject string
	// MaxAttempts of a request that can be repeated, the first included. With 0 it is 3 for what only this package can
	// repeat, and 1 for all else.
	MaxAttempts int
	// ReadOnly refuses every mutation.
	ReadOnly bool
}

// example is the URL that errors show as a correct one.
const example = "gs://my-bucket/ckptd"

// schemes are the spellings of gs://.
var schemes = []string{"gs"}

// A parameter is one key of a URL's query. set puts its value into a Config; get returns it, or "" for the default.
type parameter struct {
	set func(c *Config, value string) error
	get func(c Config) string
}

// text is a parameter whose value is stored as it is, if it has the right form.
func text(field func(c *Config) *string, form *regexp.Regexp, want string) parameter {
	return parameter{
		set: func(c *Config, value string) error {
			if form != nil && !form.MatchString(value) {
				return errors.New("want " + want)
			}
			*field(c) = value
			return nil
		},
		get: func(c Config) string { return *field(&c) },
	}
}

var (
	keyForm     = regexp.MustCompile(`^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$`)
	classForm   = regexp.MustCompile(`^(STANDARD|NEARLINE|COLDLINE|ARCHIVE)$`)
	projectForm = regexp.MustCompile(`^[a-z0-9:.-]+$`)
	bucketForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{1,220}[a-z0-9]$`)
)

func parameters() map[string]parameter {
	return map[string]parameter{
		"endpoint":      {setEndpoint, func(c Config) string { return c.Endpoint }},
		"anonymous":     {setAnonymous, func(c Config) string { return strings.TrimSuffix(strconv.FormatBool(c.Anonymous), "false") }},
		"ca":            text(func(c *Config) *string { return &c.CAFile }, nil, ""),
		"kms_key":       text(func(c *Config) *string { return &c.KMSKey }, keyForm, "projects/P/locations/L/keyRings/R/cryptoKeys/K"),
		"storage_class": text(func(c *Config) *string { return &c.StorageClass }, classForm, "STANDARD, NEARLINE, COLDLINE or ARCHIVE"),
		"user_project":  text(func(c *Config) *string { return &c.UserProject }, projectForm, "the id of a project"),
		"max_attempts":  {setAttempts, getAttempts},
	}
}

// Schemes are the schemes of URLs for this driver; the first one is the usual spelling.
func Schemes() []string { return slices.Clone(schemes) }

// Parse reads a URL gs://bucket/prefix?parameter=value&….
//
// The parameters are endpoint, anonymous, ca, kms_key, storage_class, user_project and max_attempts.
func Parse(raw string) (Config, error) {
	c, err := parse(raw)
	if err != nil {
		return Config{}, fmt.Errorf("gcs: %w; a correct URL is %s", err, example)
	}
	return c, nil
}

var errCredentials = errors.New("credentials in a URL end up in logs; name their file in GOOGLE_APPLICATION_CREDENTIALS")

// parse never repeats a part of the URL that it could not read: the part may be a secret.
func parse(raw string) (Config, error) {
	u, err := url.Parse(raw)
	switch {
	case strings.Contains(raw, "@"):
		return Config{}, errCredentials
	case err != nil:
		return Config{}, errors.New("not a URL")
	}
	if err := checkPlace(u); err != nil {
		return Config{}, err
	}
	c := Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	for element := range strings.SplitSeq(c.Prefix, "/") {
		if c.Prefix != "" && (element == "" || element == "." || element == "..") {
			return Config{}, fmt.Errorf("prefix: element %q is not allowed", element)
		}
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Config{}, errors.New("the query cannot be parsed; write % as %25 there, and & between parameters")
	}
	known := parameters()
	for _, key := range slices.Sorted(maps.Keys(query)) {
		values := query[key]
		p, ok := known[key]
		switch {
		case !ok && !parameterName.MatchString(key):
			return Config{}, errors.New("the query is not of the form name=value&name=value")
		case !ok:
			return Config{}, fmt.Errorf("unknown parameter %q (there are %s)", key, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		case len(values) > 1:
			return Config{}, fmt.Errorf("%s is given %d times", key, len(values))
		case values[0] == "":
			return Config{}, fmt.Errorf("%s is empty", key)
		}
		if err := p.set(&c, values[0]); err != nil {
			return Config{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	return c, nil
}

// parameterName is the form of names that errors repeat.
var parameterName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// checkPlace checks everything in a URL but its parameters.
func checkPlace(u *url.URL) error {
	place := strings.Trim(u.Opaque+u.Path, "/")
	first, _, _ := strings.Cut(place, "/")
	switch {
	case !slices.Contains(schemes, u.Scheme):
		return errors.New("the scheme is not gs")
	case u.Fragment != "":
		return errors.New("a # begins a fragment; write it as %23")
	case u.Host == "" && bucketForm.MatchString(first):
		return fmt.Errorf("no bucket; want two slashes before it: gs://%s", place)
	case u.Host == "":
		return errors.New("no bucket; want two slashes before it")
	case strings.Contains(u.Host, ":"):
		return fmt.Errorf("the place of the bucket holds an address; a server's address goes into endpoint=http://%s", u.Host)
	case bucketForm.MatchString(strings.ToLower(u.Host)) && u.Host != strings.ToLower(u.Host):
		return fmt.Errorf("bucket %q: names of buckets have no upper case", u.Host)
	case !bucketForm.MatchString(u.Host):
		return errors.New("bucket: want 3 to 222 of a to z, 0 to 9, -, _ and ., a letter or digit first and last")
	}
	return nil
}

// String returns the URL of the store. It holds no secrets.
func (c Config) String() string {
	query := url.Values{}
	for key, p := range parameters() {
		if value := p.get(c); value != "" {
			query.Set(key, value)
		}
	}
	u := url.URL{Scheme: schemes[0], Host: c.Bucket, Path: "/" + c.Prefix, RawQuery: readable.Replace(query.Encode())}
	if c.Prefix == "" {
		u.Path = ""
	}
	return u.String()
}

// readable undoes escapes that a query does not need; without it endpoints and keys would be hard to read.
var readable = strings.NewReplacer("%3A", ":", "%2F", "/")

// setEndpoint accepts only the bare address of a server.
func setEndpoint(c *Config, value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return errors.New("want http://host:port or https://host, and nothing after it")
	}
	c.Endpoint = strings.TrimRight(value, "/")
	return nil
}

func setAnonymous(c *Config, value string) (err error) {
	if c.Anonymous, err = strconv.ParseBool(value); err != nil {
		return errors.New("want true or false")
	}
	return nil
}

func setAttempts(c *Config, value string) (err error) {
	if c.MaxAttempts, err = strconv.Atoi(value); err != nil || c.MaxAttempts < 1 || c.MaxAttempts > 100 {
		return errors.New("want 1 (no retries) to 100")
	}
	return nil
}

func getAttempts(c Config) string {
	if c.MaxAttempts == 0 {
		return ""
	}
	return strconv.Itoa(c.MaxAttempts)
}
