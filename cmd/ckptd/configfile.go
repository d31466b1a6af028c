package main

import (
	"fmt"
	"net/url"
	"os"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/service/config"
)

// readConfig reads a file with Flink's keys. Without a path the result is empty. say is called with one line that
// counts the keys that say nothing to ckptd.
func readConfig(path string, say func(note string)) (*config.File, error) {
	if path == "" {
		return config.Parse(nil)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := config.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if note := f.Note(); note != "" {
		say(note)
	}
	return f, nil
}

// reachS3 applies a file's keys of S3 to a root in a bucket. A parameter of the root itself wins over its key.
// Credentials go into the environment of this process and of those that it starts, where the store's driver finds them.
// They win over the environment's, as every key of a file does. Any other root stays as it is.
func reachS3(root string, s config.S3) (string, error) {
	if d, _, err := drivers.Find(root); err != nil || d.Kind() != "s3" {
		return root, nil // whoever opens the store refuses a wrong root, and says why
	}
	u, err := url.Parse(root)
	if err != nil {
		return root, nil
	}
	query := u.Query()
	for parameter, value := range map[string]string{"endpoint": s.Endpoint, "region": s.Region, "path_style": s.PathStyle} {
		if value != "" && !query.Has(parameter) {
			query.Set(parameter, value)
		}
	}
	u.RawQuery = query.Encode()
	if (s.AccessKey == "") != (s.SecretKey == "") {
		return "", exit.Usagef("config: s3.access-key and s3.secret-key belong together: give both or none")
	}
	if s.AccessKey == "" {
		return u.String(), nil
	}
	// An empty session token belongs to the keys, too: one that was there before would not fit them.
	for name, value := range map[string]config.Secret{"AWS_ACCESS_KEY_ID": s.AccessKey, "AWS_SECRET_ACCESS_KEY": s.SecretKey, "AWS_SESSION_TOKEN": s.SessionToken} {
		if err := os.Setenv(name, string(value)); err != nil {
			return "", fmt.Errorf("config: %w", err)
		}
	}
	return u.String(), nil
}
