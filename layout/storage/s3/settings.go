package s3

import (
	"fmt"
	"os"
	"strings"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// usualRegion is the region that servers which are not Amazon's accept.
const usualRegion = "us-east-1"

// complete adds to a URL's settings those of the environment and of the profile: endpoint, addressing and region. They
// count as if they stood in the URL. The notes say where they come from.
func complete(c Config, loaded aws.Config) (_ Config, notes []string, err error) {
	profile := profileOf(loaded)
	if found := s3.NewFromConfig(loaded).Options().BaseEndpoint; c.Endpoint == "" && found != nil && *found != "" {
		origin := endpointOrigin(profile)
		if err := setEndpoint(&c, *found); err != nil {
			return c, nil, fmt.Errorf("%s: %w", origin, err)
		}
		notes = append(notes, fmt.Sprintf("endpoint %s, from %s", c.Endpoint, origin))
	}
	if !c.PathStyle && !c.HostStyle {
		style, err := profile.addressing()
		if err != nil {
			return c, nil, err
		}
		if style != "" {
			c.PathStyle, c.HostStyle = style == pathStyle, style == hostStyle
			notes = append(notes, fmt.Sprintf("addressing_style %s, from %s", style, profile))
		}
	}
	if c.Region = loaded.Region; c.Region == "" && c.Endpoint != "" {
		c.Region = usualRegion
	}
	if at := strings.IndexFunc(c.Region, notPrintable); at >= 0 {
		return c, nil, fmt.Errorf("the region %q has %s; take it out of AWS_REGION, of the profile or of region=", c.Region, character(c.Region, at))
	}
	return c, notes, nil
}

// bucketInPath reports whether requests name the bucket in their path.
func (c Config) bucketInPath() bool { return c.PathStyle || c.Endpoint != "" && !c.HostStyle }

// endpointOrigin says which setting the SDK takes an endpoint from, in its order.
func endpointOrigin(p profile) string {
	for _, name := range []string{"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"} {
		if os.Getenv(name) != "" {
			return name
		}
	}
	return "endpoint_url of " + p.String()
}

// A profile is one of the shared configuration files.
type profile struct{ name, file string }

func profileOf(loaded aws.Config) profile {
	p := profile{name: "default", file: config.DefaultSharedConfigFilename()}
	for _, source := range loaded.ConfigSources {
		switch s := source.(type) {
		case config.SharedConfig:
			if s.Profile != "" {
				p.name = s.Profile
			}
		case config.EnvConfig:
			if s.SharedConfigFile != "" {
				p.file = s.SharedConfigFile
			}
		}
	}
	return p
}

// String names the profile for people.
func (p profile) String() string { return fmt.Sprintf("profile %s in %s", p.name, p.file) }

// The values of addressing_style; with "auto" the endpoint decides.
const (
	pathStyle = "path"
	hostStyle = "virtual"
	autoStyle = "auto"
)

// addressing returns the addressing_style below "s3 =" in the profile, "" for none. The SDK knows the setting in other
// languages, but not in Go.
func (p profile) addressing() (string, error) {
	text, err := os.ReadFile(p.file)
	if err != nil {
		return "", nil // the SDK has read the file, or there is none
	}
	switch style := addressingIn(string(text), p.name); style {
	case "", autoStyle:
		return "", nil
	case pathStyle, hostStyle:
		return style, nil
	default:
		return "", fmt.Errorf("addressing_style = %.40q in %s: want path, virtual or auto", style, p)
	}
}

// addressingIn finds the setting in the text of a shared configuration file:
//
//	[profile name]
//	s3 =
//	  addressing_style = path
func addressingIn(text, name string) (style string) {
	inProfile, inS3 := false, false
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';' {
			continue
		}
		if header, ok := strings.CutPrefix(trimmed, "["); ok {
			header, _, _ = strings.Cut(header, "]")
			words := strings.Fields(header)
			inProfile = len(words) == 2 && words[0] == "profile" && words[1] == name || name == "default" && len(words) == 1 && words[0] == name
			inS3 = false
			continue
		}
		key, value, _ := strings.Cut(trimmed, "=")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		switch nested := line[0] == ' ' || line[0] == '\t'; {
		case !nested:
			inS3 = key == "s3" && value == ""
		case inProfile && inS3 && key == "addressing_style":
			style = strings.ToLower(value)
		}
	}
	return style
}

// checkKeys names characters that no key has. They come from files and variables with a newline at the end, and would
// be refused far from their cause.
func checkKeys(keys aws.Credentials) error {
	for _, k := range []struct{ name, value string }{
		{"the access key's id (AWS_ACCESS_KEY_ID)", keys.AccessKeyID},
		{"the secret key (AWS_SECRET_ACCESS_KEY)", keys.SecretAccessKey},
		{"the session token (AWS_SESSION_TOKEN)", keys.SessionToken},
	} {
		if at := strings.IndexFunc(k.value, notPrintable); at >= 0 {
			return fmt.Errorf("credentials from %s: %s has %s; take it out where the key is set (a file is often read with the newline at its end)",
				keys.Source, k.name, character(k.value, at))
		}
	}
	return nil
}

// notPrintable reports whether a rune is no visible character of ASCII.
func notPrintable(r rune) bool { return r <= ' ' || r > '~' }

// character names a character of a value and its place, and nothing else of the value.
func character(value string, at int) string {
	r := []rune(value[at:])[0]
	name := "a character that is not ASCII"
	switch {
	case r == '\n':
		name = "a newline"
	case r == '\r':
		name = "a carriage return"
	case unicode.IsSpace(r):
		name = "white space"
	case unicode.IsControl(r):
		name = "a control character"
	}
	switch rest := strings.TrimFunc(value[at:], notPrintable); {
	case rest == "":
		return name + " at its end"
	case at == 0:
		return name + " at its beginning"
	}
	return name + " within it"
}
