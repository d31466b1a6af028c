package hdfs

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config says where a store is and how to reach it. Whatever is not said comes from the Hadoop files.
type Config struct {
	// User on HDFS; else HADOOP_USER_NAME, else the user of this process. With Kerberos the principal counts.
	User string
	// Hosts are NameNodes (host or host:port), or one name service; empty: fs.defaultFS of the Hadoop files.
	Hosts []string
	// Path of the root: absolute, without a slash at its end.
	Path string
	// Replication and BlockSize of new files; 0: dfs.replication and dfs.blocksize, else the NameNode's.
	Replication int
	BlockSize   int64
	// Timeout of each read and write on a connection; 0: defaultTimeout.
	Timeout time.Duration
	// ConfDir holds the Hadoop files; else HADOOP_CONF_DIR, or conf below HADOOP_HOME.
	ConfDir string
	// Principal and Keytab for Kerberos.
	Principal, Keytab string
	// ReadOnly refuses every mutation.
	ReadOnly bool
}

const (
	// example is the URL that errors show as a correct one.
	example = "hdfs://namenode:8020/ckptd"
	// defaultTimeout bounds each read and write on a connection.
	defaultTimeout = 30 * time.Second
	// defaultPort is a NameNode's.
	defaultPort = "8020"
)

// Schemes are the schemes of URLs for this driver.
func Schemes() []string { return []string{"hdfs"} }

// A parameter is one key of a URL's query.
type parameter struct {
	set func(c *Config, value string) error
	get func(c Config) string
}

func text(field func(c *Config) *string) parameter {
	return parameter{
		set: func(c *Config, value string) error { *field(c) = value; return nil },
		get: func(c Config) string { return *field(&c) },
	}
}

func parameters() map[string]parameter {
	return map[string]parameter{
		"replication": {setReplication, func(c Config) string { return nonZero(int64(c.Replication)) }},
		"blocksize":   {setBlockSize, func(c Config) string { return nonZero(c.BlockSize) }},
		"timeout":     {setTimeout, getTimeout},
		"conf":        text(func(c *Config) *string { return &c.ConfDir }),
		"principal":   text(func(c *Config) *string { return &c.Principal }),
		"keytab":      text(func(c *Config) *string { return &c.Keytab }),
	}
}

func nonZero(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func setReplication(c *Config, value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > 512 {
		return fmt.Errorf("replication=%.20q: want the number of copies, 1 to 512", value)
	}
	c.Replication = n
	return nil
}

func setBlockSize(c *Config, value string) (err error) {
	if c.BlockSize, err = parseSize(value); err != nil {
		return fmt.Errorf("blocksize=%.20q: want bytes, a multiple of 512, as 134217728 or 128m", value)
	}
	return nil
}

// parseSize reads a size as Hadoop writes it: 134217728, or 128m.
func parseSize(value string) (int64, error) {
	value = strings.ToLower(strings.TrimSpace(value))
	shift := 0
	if at := strings.IndexAny(value, "kmgt"); at >= 0 && at == len(value)-1 {
		shift = 10 * (1 + strings.IndexByte("kmgt", value[at]))
		value = value[:at]
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 1 || n > 1<<50>>shift || n<<shift%512 != 0 {
		return 0, errors.New("not a size")
	}
	return n << shift, nil
}

func setTimeout(c *Config, value string) (err error) {
	if c.Timeout, err = time.ParseDuration(value); err != nil || c.Timeout < 100*time.Millisecond || c.Timeout > time.Hour {
		return fmt.Errorf("timeout=%.20q: want the longest silence of a connection, as 30s", value)
	}
	return nil
}

func getTimeout(c Config) string {
	if c.Timeout == 0 {
		return ""
	}
	return c.Timeout.String()
}

// Parse reads a URL hdfs://user@nn1:8020,nn2:8020/dir?parameter=value&… or hdfs://nameservice/dir. The parameters are
// replication, blocksize, timeout, conf, principal and keytab.
func Parse(raw string) (Config, error) {
	c, err := parse(raw)
	if err != nil {
		return Config{}, fmt.Errorf("hdfs: %w; a correct URL is %s", err, example)
	}
	return c, nil
}

var (
	errPassword = errors.New("a password in a URL ends up in logs, and HDFS has none; with Kerberos say keytab=, or use a ticket cache")
	hostForm    = regexp.MustCompile(`^[A-Za-z0-9._-]+(?::[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?$`)
	userForm    = regexp.MustCompile(`^[A-Za-z0-9._/$-]+$`)
	queryName   = regexp.MustCompile(`^[a-z_.]{1,30}$`)
)

// parse never repeats a part that may be a secret.
func parse(raw string) (Config, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || !strings.EqualFold(scheme, "hdfs") {
		return Config{}, errors.New("not a URL of HDFS; want two slashes after its scheme")
	}
	at := strings.IndexAny(rest, "/?#")
	if at < 0 {
		at = len(rest)
	}
	authority, rest := rest[:at], rest[at:]
	c := Config{}
	beforeQuery, _, _ := strings.Cut(rest, "?")
	user, hosts, hasUser := strings.Cut(authority, "@")
	if !hasUser {
		user, hosts = "", authority
	}
	switch {
	case strings.ContainsAny(user, ":%"), strings.Contains(hosts, "@"), strings.Contains(hosts, ":") && strings.Contains(beforeQuery, "@"):
		return Config{}, errPassword
	case hasUser && !userForm.MatchString(user):
		return Config{}, errors.New("the user has other characters than a-z, A-Z, 0-9, . _ and -")
	}
	c.User = user
	for host := range strings.SplitSeq(hosts, ",") {
		if hosts != "" && !hostForm.MatchString(host) {
			return Config{}, errors.New("want NameNodes as host:port, with commas between them, or the name of a name service")
		}
		if hosts != "" {
			c.Hosts = append(c.Hosts, strings.ToLower(host))
		}
	}
	u, err := url.Parse("hdfs://host" + rest)
	if err != nil || u.Fragment != "" {
		return Config{}, errors.New("not a URL: write % as %25, and # as %23")
	}
	if u.Path == "" || path.Clean(u.Path) == "/" {
		return Config{}, errors.New("no folder: a root cannot be all of HDFS")
	}
	c.Path = path.Clean(u.Path)
	if strings.Contains(c.Path, ":") || strings.ContainsFunc(c.Path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return Config{}, errors.New("the folder has a : or a control character, which HDFS does not have in names")
	}
	if err := parseQuery(&c, u.RawQuery); err != nil {
		return Config{}, err
	}
	return c, nil
}

func parseQuery(c *Config, raw string) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return errors.New("the query cannot be parsed; write % as %25 there, and & between parameters")
	}
	known := parameters()
	names := strings.Join(slices.Sorted(maps.Keys(known)), ", ")
	for _, name := range slices.Sorted(maps.Keys(query)) {
		p, ok := known[name]
		switch {
		case !ok && !queryName.MatchString(name):
			return fmt.Errorf("the query is not of the form name=value&name=value (names are %s)", names)
		case !ok:
			return fmt.Errorf("unknown parameter %q (there are %s)", name, names)
		case len(query[name]) > 1:
			return fmt.Errorf("%s is given %d times", name, len(query[name]))
		case query[name][0] == "":
			return fmt.Errorf("%s is empty", name)
		}
		if err := p.set(c, query[name][0]); err != nil {
			return err
		}
	}
	return nil
}

// String returns the URL of the store. It holds no secrets.
func (c Config) String() string {
	text := "hdfs://"
	if c.User != "" {
		text += c.User + "@"
	}
	text += strings.Join(c.Hosts, ",") + (&url.URL{Path: c.Path}).EscapedPath()
	query := ""
	known := parameters()
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if value := known[name].get(c); value != "" {
			query += "&" + name + "=" + strings.ReplaceAll(url.QueryEscape(value), "%2F", "/")
		}
	}
	if query != "" {
		text += "?" + query[1:]
	}
	return text
}

// withPort adds the usual port to a host that has none.
func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), defaultPort)
}
