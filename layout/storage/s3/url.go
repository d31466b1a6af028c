package s3

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Config says where a store is and how to reach it. Only Bucket is required. Credentials are not part of it: the AWS
// SDK finds them (environment, shared files, web identity, the machine's role).
type Config struct {
	Bucket string
	// Prefix of all keys, without slashes at its ends; may be empty.
	Prefix string
	// Endpoint is the URL of a server that is not Amazon's. If empty, the environment and the profile may name one.
	Endpoint string
	// Region of the bucket. If none is configured anywhere and there is an endpoint, it is us-east-1.
	Region string
	// PathStyle puts the bucket into the path, HostStyle into the host name. With neither, the profile decides, else the
	// path if there is an endpoint.
	PathStyle, HostStyle bool
	// Profile of the shared configuration files.
	Profile string
	// CAFile is a file of PEM certificates to trust beside the system's.
	CAFile string
	// KMSKeyID asks for encryption with this key (SSE-KMS).
	KMSKeyID string
	// StorageClass of new objects.
	StorageClass string
	// NoChecksums leaves out checksums that a server may not know (checksums=when_required). The server then checks
	// no sums.
	NoChecksums bool
	// MaxAttempts of a request that can be repeated, the first included; 0 means 3. With 1 the SDK does not retry.
	MaxAttempts int
	// ReadOnly refuses every mutation.
	ReadOnly bool
}

// example is the URL that errors show as a correct one.
const example = "s3://my-bucket/ckptd?region=eu-central-1"

// schemes are the spellings of s3://; Flink and Hadoop use all of them.
var schemes = []string{"s3", "s3a", "s3n", "s3p"}

// A parameter is one key of a URL's query. set puts its value into a Config; get returns it, or "" for the default.
type parameter struct {
	set func(c *Config, value string) error
	get func(c Config) string
}

// text is a parameter whose value is stored as it is.
func text(field func(c *Config) *string) parameter {
	return parameter{
		set: func(c *Config, value string) error { *field(c) = value; return nil },
		get: func(c Config) string { return *field(&c) },
	}
}

func parameters() map[string]parameter {
	return map[string]parameter{
		"endpoint":       {setEndpoint, func(c Config) string { return c.Endpoint }},
		"region":         text(func(c *Config) *string { return &c.Region }),
		"path_style":     {setPathStyle, getPathStyle},
		"profile":        text(func(c *Config) *string { return &c.Profile }),
		"ca":             text(func(c *Config) *string { return &c.CAFile }),
		"sse_kms_key_id": text(func(c *Config) *string { return &c.KMSKeyID }),
		"storage_class":  text(func(c *Config) *string { return &c.StorageClass }),
		"checksums":      {setChecksums, getChecksums},
		"max_attempts":   {setAttempts, getAttempts},
	}
}

// Schemes are the schemes of URLs for this driver; the first one is the usual spelling.
func Schemes() []string { return slices.Clone(schemes) }

// Parse reads a URL s3://bucket/prefix?parameter=value&…, also with the scheme s3a, s3n or s3p.
//
// The parameters are endpoint, region, path_style, profile, ca, sse_kms_key_id, storage_class, checksums and
// max_attempts.
func Parse(raw string) (Config, error) {
	c, err := parse(raw)
	if err != nil {
		return Config{}, fmt.Errorf("s3: %s%w; a correct URL is %s", shown(raw), err, example)
	}
	return c, nil
}

func parse(raw string) (Config, error) {
	u, err := url.Parse(raw)
	if err != nil && strings.Contains(raw, "@") {
		return Config{}, errCredentials
	}
	if err != nil {
		return Config{}, errors.New("not a URL")
	}
	if err := checkPlace(u); err != nil {
		return Config{}, err
	}
	c := Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	if err := checkPrefix(c.Prefix); err != nil {
		return Config{}, err
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Config{}, errors.New("the query cannot be parsed; write % as %25 there, and & between parameters") // its text may be a secret
	}
	known := parameters()
	for _, key := range slices.Sorted(maps.Keys(query)) {
		values := query[key]
		p, ok := known[key]
		switch {
		case !ok:
			return Config{}, unknown(key, known)
		case len(values) > 1:
			return Config{}, fmt.Errorf("%s is given %d times", key, len(values))
		case values[0] == "":
			return Config{}, fmt.Errorf("%s is empty", key)
		}
		if err := p.set(&c, values[0]); err != nil {
			return Config{}, err
		}
	}
	return c, nil
}

// String returns the URL of the store. It holds no secrets.
func (c Config) String() string {
	query := url.Values{}
	for key, p := range parameters() {
		if value := p.get(c); value != "" {
			query.Set(key, value)
		}
	}
	u := url.URL{Scheme: "s3", Host: c.Bucket, Path: "/" + c.Prefix, RawQuery: readable.Replace(query.Encode())}
	if c.Prefix == "" {
		u.Path = ""
	}
	return u.String()
}

// readable undoes escapes that a query does not need; without it endpoints and files would be hard to read.
var readable = strings.NewReplacer("%3A", ":", "%2F", "/")

// checkPrefix refuses elements that a server with folders would interpret.
func checkPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	for element := range strings.SplitSeq(prefix, "/") {
		if element == "" || element == "." || element == ".." {
			return fmt.Errorf("prefix: element %q is not allowed", element)
		}
	}
	return nil
}

func setEndpoint(c *Config, value string) error {
	if err := checkEndpoint(value); err != nil {
		return err
	}
	c.Endpoint = strings.TrimRight(value, "/")
	return nil
}

func setPathStyle(c *Config, value string) (err error) {
	if c.PathStyle, err = strconv.ParseBool(value); err != nil {
		return fmt.Errorf("path_style=%s: want true or false", value)
	}
	c.HostStyle = !c.PathStyle
	return nil
}

func getPathStyle(c Config) string {
	if c.PathStyle || c.HostStyle {
		return strconv.FormatBool(c.PathStyle)
	}
	return ""
}

func setChecksums(c *Config, value string) error {
	switch value {
	case "when_supported":
	case "when_required":
		c.NoChecksums = true
	default:
		return fmt.Errorf("checksums=%s: want when_supported or when_required", value)
	}
	return nil
}

func getChecksums(c Config) string {
	if c.NoChecksums {
		return "when_required"
	}
	return ""
}

func setAttempts(c *Config, value string) (err error) {
	if c.MaxAttempts, err = strconv.Atoi(value); err != nil || c.MaxAttempts < 1 || c.MaxAttempts > 100 {
		return fmt.Errorf("max_attempts=%s: want 1 (no retries) to 100", value)
	}
	return nil
}

func getAttempts(c Config) string {
	if c.MaxAttempts == 0 {
		return ""
	}
	return strconv.Itoa(c.MaxAttempts)
}
