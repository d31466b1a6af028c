package s3

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Endpoint, addressing and region of the environment and of the profile count as if they stood in the URL; what stands
// in the URL wins.
func TestComplete(t *testing.T) {
	const withEndpoint = "[profile mine]\nregion = eu-west-3\nendpoint_url = https://profile.example\n"
	for name, c := range map[string]struct {
		url, file string
		env       []string
		endpoint  string
		region    string
		inPath    bool
		note      string
		err       string
	}{
		"Amazon's":                        {url: "s3://b", env: []string{"AWS_REGION=eu-west-1"}, region: "eu-west-1"},
		"no region":                       {url: "s3://b"},
		"a URL's endpoint":                {url: "s3://b?endpoint=http://h", endpoint: "http://h", region: "us-east-1", inPath: true},
		"a URL's region":                  {url: "s3://b?endpoint=http://h&region=r-1", env: []string{"AWS_REGION=r-2"}, endpoint: "http://h", region: "r-1", inPath: true},
		"AWS_ENDPOINT_URL":                {url: "s3://b", env: []string{"AWS_ENDPOINT_URL=http://all:1/"}, endpoint: "http://all:1", region: "us-east-1", inPath: true, note: "http://all:1, from AWS_ENDPOINT_URL"},
		"AWS_ENDPOINT_URL_S3":             {url: "s3://b", env: []string{"AWS_ENDPOINT_URL=http://all", "AWS_ENDPOINT_URL_S3=http://one"}, endpoint: "http://one", region: "us-east-1", inPath: true, note: "from AWS_ENDPOINT_URL_S3"},
		"the URL wins":                    {url: "s3://b?endpoint=http://h", env: []string{"AWS_ENDPOINT_URL_S3=http://one"}, endpoint: "http://h", region: "us-east-1", inPath: true},
		"path_style=false":                {url: "s3://b?path_style=false", env: []string{"AWS_ENDPOINT_URL=http://all"}, endpoint: "http://all", region: "us-east-1", note: "http://all"},
		"ignored endpoints":               {url: "s3://b", env: []string{"AWS_ENDPOINT_URL=http://all", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true"}},
		"a profile's endpoint":            {url: "s3://b?profile=mine", file: withEndpoint, endpoint: "https://profile.example", region: "eu-west-3", inPath: true, note: "from endpoint_url of profile mine in"},
		"AWS_PROFILE":                     {url: "s3://b", file: withEndpoint, env: []string{"AWS_PROFILE=mine"}, endpoint: "https://profile.example", region: "eu-west-3", inPath: true, note: "profile mine"},
		"a profile that is not in use":    {url: "s3://b", file: "[default]\nregion=r-1\n" + withEndpoint, region: "r-1"},
		"addressing_style = path":         {url: "s3://b", file: "[default]\nregion = r-1\ns3 =\n  addressing_style = path\n", region: "r-1", inPath: true, note: "addressing_style path, from profile default"},
		"addressing_style = virtual":      {url: "s3://b?endpoint=http://h", file: "[default]\ns3 =\n  addressing_style = virtual\n", endpoint: "http://h", region: "us-east-1", note: "addressing_style virtual"},
		"addressing_style = auto":         {url: "s3://b?endpoint=http://h", file: "[default]\ns3 =\n  addressing_style = auto\n", endpoint: "http://h", region: "us-east-1", inPath: true},
		"path_style before the profile":   {url: "s3://b?endpoint=http://h&path_style=true", file: "[default]\ns3 =\n  addressing_style = virtual\n", endpoint: "http://h", region: "us-east-1", inPath: true},
		"an unknown style":                {url: "s3://b", file: "[default]\ns3 =\n  addressing_style = dns\n", err: "want path, virtual or auto"},
		"an endpoint with a key":          {url: "s3://b", env: []string{"AWS_ENDPOINT_URL=http://key:topsecret@h"}, err: "AWS_ENDPOINT_URL: credentials in a URL"},
		"an endpoint with a path":         {url: "s3://b", env: []string{"AWS_ENDPOINT_URL_S3=http://h/topsecret"}, err: "AWS_ENDPOINT_URL_S3: endpoint: want no path"},
		"an endpoint without a scheme":    {url: "s3://b", env: []string{"AWS_ENDPOINT_URL=h:9000"}, err: "want http://host:port"},
		"a newline behind the region":     {url: "s3://b?endpoint=http://h", env: []string{"AWS_REGION=us-east-1\n"}, err: "a newline at its end"},
		"a profile's endpoint, no path":   {url: "s3://b?profile=mine", file: withEndpoint + "s3 =\n    addressing_style=virtual\n", endpoint: "https://profile.example", region: "eu-west-3", note: "virtual"},
		"the endpoint of a service":       {url: "s3://b?profile=mine", file: "[profile mine]\nservices = lab\n[services lab]\ns3 =\n  endpoint_url = http://service\n", endpoint: "http://service", region: "us-east-1", inPath: true, note: "http://service"},
		"addressing of another section":   {url: "s3://b", file: "[profile mine]\ns3 =\n  addressing_style = path\n[default]\nregion = r-1\n", region: "r-1"},
		"addressing of another service":   {url: "s3://b", file: "[default]\nregion = r-1\ns3control =\n  addressing_style = path\n", region: "r-1"},
		"addressing that is not indented": {url: "s3://b", file: "[default]\nregion = r-1\ns3 =\naddressing_style = path\n", region: "r-1"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"} {
				t.Setenv(name, "")
				if err := os.Unsetenv(name); err != nil {
					t.Fatal(err)
				}
			}
			for _, pair := range c.env {
				name, value, _ := strings.Cut(pair, "=")
				t.Setenv(name, value)
			}
			file := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(file, []byte(c.file), 0o666); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_CONFIG_FILE", file)
			given, err := Parse(c.url)
			if err != nil {
				t.Fatal(err)
			}
			loaded, err := load(t.Context(), given)
			if err != nil {
				t.Fatal(err)
			}
			got, notes, err := complete(given, loaded)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "topsecret") {
					t.Errorf("%v, want an error with %q and no password", err, c.err)
				}
				return
			}
			if err != nil || got.Endpoint != c.endpoint || got.Region != c.region || got.bucketInPath() != c.inPath {
				t.Errorf("endpoint %q, region %q, bucket in the path: %t, %v; want %q, %q, %t", got.Endpoint, got.Region, got.bucketInPath(), err, c.endpoint, c.region, c.inPath)
			}
			if all := strings.Join(notes, "; "); !strings.Contains(all, c.note) || (c.note == "") != (all == "") {
				t.Errorf("notes %q, want %q", all, c.note)
			}
		})
	}
}

// White space in keys is named before anything is sent, and the key is not repeated.
func TestKeysWithWhiteSpace(t *testing.T) {
	const key, secret, token = "AKIDTOP", "top/secret+Key=", "topToken"
	for name, c := range map[string]struct {
		keys aws.Credentials
		want []string
	}{
		"right":              {aws.Credentials{AccessKeyID: key, SecretAccessKey: secret}, nil},
		"right, with token":  {aws.Credentials{AccessKeyID: key, SecretAccessKey: secret, SessionToken: token}, nil},
		"a newline":          {aws.Credentials{AccessKeyID: key + "\n", SecretAccessKey: secret, Source: "here"}, []string{"from here", "AWS_ACCESS_KEY_ID", "a newline at its end"}},
		"CR and LF":          {aws.Credentials{AccessKeyID: key, SecretAccessKey: secret + "\r\n"}, []string{"AWS_SECRET_ACCESS_KEY", "a carriage return at its end"}},
		"a blank before":     {aws.Credentials{AccessKeyID: key, SecretAccessKey: " " + secret}, []string{"AWS_SECRET_ACCESS_KEY", "white space at its beginning"}},
		"a blank within":     {aws.Credentials{AccessKeyID: key, SecretAccessKey: "top secret"}, []string{"white space within it"}},
		"a byte order mark":  {aws.Credentials{AccessKeyID: "\ufeff" + key, SecretAccessKey: secret}, []string{"not ASCII at its beginning"}},
		"a NUL in the token": {aws.Credentials{AccessKeyID: key, SecretAccessKey: secret, SessionToken: token + "\x00"}, []string{"AWS_SESSION_TOKEN", "a control character at its end"}},
	} {
		err := checkKeys(c.keys)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want an error: %t", name, err, c.want != nil)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) || strings.Contains(strings.ToLower(err.Error()), "top") {
				t.Errorf("%s: %v, want it to say %q and no key", name, err, want)
			}
		}
	}
}
