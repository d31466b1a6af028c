package hdfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func conf(t *testing.T, settings ...string) string {
	t.Helper()
	dir, text := t.TempDir(), "<configuration>"
	for i := 0; i < len(settings); i += 2 {
		text += "<property><name>" + settings[i] + "</name><value>" + settings[i+1] + "</value></property>"
	}
	if err := os.WriteFile(filepath.Join(dir, "core-site.xml"), []byte(text+"</configuration>"), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What a URL does not say comes from the Hadoop files: NameNodes, copies, blocks, encryption.
func TestHadoopFiles(t *testing.T) {
	t.Setenv("HADOOP_USER_NAME", "from-env")
	t.Setenv("HADOOP_CONF_DIR", conf(t, "fs.defaultFS", "hdfs://main", "dfs.ha.namenodes.main", "a,b", "dfs.namenode.rpc-address.main.a", "h1:9000",
		"dfs.namenode.rpc-address.main.b", "h2:9000", "dfs.ha.namenodes.other", "c", "dfs.namenode.rpc-address.other.c", "h3", "dfs.replication", "2",
		"dfs.blocksize", "64m", "dfs.encrypt.data.transfer", "true", "fs.permissions.umask-mode", "077"))
	for url, want := range map[string]string{
		"hdfs:///d":                "h1:9000 h2:9000",
		"hdfs://main/d":            "h1:9000 h2:9000",
		"hdfs://OTHER/d":           "h3:8020",
		"hdfs://h1/d":              "h1:8020",
		"hdfs://x:1,y/d":           "x:1 y:8020",
		"hdfs://me@[::1]:9/d":      "[::1]:9",
		"hdfs://h1/d?blocksize=1m": "h1:8020",
	} {
		c, err := Parse(url)
		if err != nil {
			t.Error(err)
			continue
		}
		r, err := resolve(c)
		if err != nil || strings.Join(r.options.Addresses, " ") != want {
			t.Errorf("%s: NameNodes %q, %v; want %s", url, r.options.Addresses, err, want)
		}
		if user := "from-env"; r.options.User != user && c.User == "" || c.User != "" && r.options.User != "me" {
			t.Errorf("%s: user %s, want the URL's, or that of HADOOP_USER_NAME", url, r.options.User)
		}
		if size := int64(64 << 20); r.replication != 2 || r.blockSize != size && c.BlockSize == 0 || r.options.DataTransferProtection != "privacy" ||
			r.fileMode != 0o600 || r.folderMode != 0o700 {
			t.Errorf("%s: %+v, want what the files say", url, r)
		}
	}
}

// A set-up that cannot work is refused with the reason and what to do.
func TestWrongSetUp(t *testing.T) {
	t.Setenv("HADOOP_CONF_DIR", "")
	t.Setenv("HADOOP_HOME", "")
	t.Setenv("KRB5_CONFIG", "/does/not/exist")
	for want, c := range map[string]Config{
		"neither in the URL nor":         {Path: "/d"},
		"joins several clusters":         {Path: "/d", ConfDir: conf(t, "fs.defaultFS", "viewfs://all")},
		"neither core-site.xml":          {Path: "/d", ConfDir: t.TempDir()},
		"rpc-address.ns.a":               {Path: "/d", Hosts: []string{"ns"}, ConfDir: conf(t, "dfs.ha.namenodes.ns", "a")},
		"dfs.replication=":               {Path: "/d", Hosts: []string{"h"}, ConfDir: conf(t, "dfs.replication", "many")},
		"dfs.blocksize=":                 {Path: "/d", Hosts: []string{"h"}, ConfDir: conf(t, "dfs.blocksize", "1000")},
		"AES/CTR":                        {Path: "/d", Hosts: []string{"h"}, ConfDir: conf(t, "dfs.data.transfer.protection", "integrity")},
		"umask-mode":                     {Path: "/d", Hosts: []string{"h"}, ConfDir: conf(t, "fs.permissions.umask-mode", "u=rwx")},
		"KRB5_CONFIG names the file":     {Path: "/d", Hosts: []string{"h"}, ConfDir: conf(t, "hadoop.security.authentication", "kerberos")},
		"is one active?":                 {Path: "/d", Hosts: []string{"127.0.0.1:1"}},
		"hadoop.security.authentication": {Path: "/d", Hosts: []string{"127.0.0.1:1"}, Keytab: "/k"},
	} {
		if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error that says %q", c, err, want)
		}
	}
}

// A name on HDFS has no ":" and is not reserved; every key has its own, and a temporary name tells its target.
func TestNames(t *testing.T) {
	s := &store{config: Config{Path: "/root"}}
	seen := map[string]string{}
	for _, key := range []string{"a", "a:b", "a%3Ab", "a~b", "job/_journal/1", "job/%data", ".snapshot", ".reserved/x", "%2Esnapshot", "ü/é", "a+/b+",
		"job/" + strings.Repeat("n", 250), strings.Repeat("a/", 300) + "b", strings.Repeat("+", 199) + "/" + strings.Repeat("é~", 60)} {
		path := s.path(key)
		if strings.Contains(path, ":") || seen[path] != "" || slices.Contains(strings.Split(path, "/"), dataName) {
			t.Errorf("path of %s: %s, also of %q; want one of its own", key, path, seen[path])
		}
		seen[path] = key
		temp := s.tempPath(key)
		name := ""
		for _, element := range strings.Split(strings.TrimPrefix(temp, s.tempFolder(key)+"/"), "/") {
			if len(element) > 255 {
				t.Errorf("temporary name of %s: an element of %d bytes, want 255 at most", key, len(element))
			}
			name += strings.TrimSuffix(element, pieceEnd)
		}
		if got, err := targetOf(name); got != key || err != nil {
			t.Errorf("target of %s: %q, %v; want %q", temp, got, err, key)
		}
		for _, element := range strings.Split(key, "/") {
			if got := unescape(escape(element)); got != element {
				t.Errorf("unescape(escape(%q)) = %q", element, got)
			}
		}
	}
	for _, foreign := range []string{"", "x", "~ABC", "a%zz", "%data"} {
		if key, err := targetOf(foreign); err == nil {
			t.Errorf("target of %q: %q, want an error", foreign, key)
		}
	}
}
