package servers

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Realm is the realm of a KDC.
const Realm = "CKPTD.TEST"

// A KDC is a running Kerberos server.
type KDC struct {
	// Conf is the file for KRB5_CONFIG.
	Conf string

	dir string
	env []string
}

// StartKDC starts a KDC that ends with the test. Without Kerberos' programs it skips the test loudly; in CI it ends the test.
func StartKDC(t testing.TB) *KDC {
	t.Helper()
	programs := map[string]string{}
	for _, name := range []string{"krb5kdc", "kdb5_util", "kadmin.local"} {
		path, err := exec.LookPath(name)
		if _, there := os.Stat("/usr/sbin/" + name); err != nil && there == nil {
			path, err = "/usr/sbin/"+name, nil
		}
		if err != nil && !InCI() {
			t.Skipf("NOT RUN: %s needs a KDC: %s is missing (Debian: apt-get install krb5-kdc krb5-admin-server krb5-user)", t.Name(), name)
		}
		if err != nil {
			t.Fatal(err)
		}
		programs[name] = path
	}
	dir, address := t.TempDir(), freePort(t)
	k := &KDC{Conf: filepath.Join(dir, "krb5.conf"), dir: dir}
	k.env = []string{"KRB5_CONFIG=" + k.Conf, "KRB5_KDC_PROFILE=" + filepath.Join(dir, "kdc.conf"), "PATH=" + os.Getenv("PATH") + ":/usr/sbin"}
	for name, text := range map[string]string{
		"krb5.conf": fmt.Sprintf("[libdefaults]\n default_realm = %[1]s\n udp_preference_limit = 1\n dns_lookup_kdc = false\n dns_lookup_realm = false\n rdns = false\n"+
			" dns_canonicalize_hostname = false\n[realms]\n %[1]s = {\n  kdc = %[2]s\n }\n", Realm, address),
		"kdc.conf": fmt.Sprintf("[realms]\n %s = {\n  database_name = %s/principal\n  key_stash_file = %[2]s/stash\n  kdc_listen = \"\"\n  kdc_tcp_listen = %[3]s\n }\n",
			Realm, dir, address),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k.run(t, programs["kdb5_util"], "create", "-s", "-r", Realm, "-P", "master")
	p, err := start(programs["krb5kdc"], k.env, "-n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return k
		}
		if time.Now().After(end) {
			t.Fatalf("the KDC is not ready: %v: %s", err, p.log)
		}
	}
}

func (k *KDC) run(t testing.TB, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = k.env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// Keytab makes a principal, and returns a file with its key.
func (k *KDC) Keytab(t testing.TB, principal string) string {
	t.Helper()
	file := filepath.Join(k.dir, strings.ReplaceAll(principal, "/", "-")+".keytab")
	k.run(t, "/usr/sbin/kadmin.local", "-r", Realm, "addprinc", "-randkey", principal)
	k.run(t, "/usr/sbin/kadmin.local", "-r", Realm, "ktadd", "-k", file, principal)
	return file
}

// Ticket returns a cache with a ticket of a principal.
func (k *KDC) Ticket(t testing.TB, principal, keytab string) string {
	t.Helper()
	cache := filepath.Join(k.dir, principal+".cache")
	k.run(t, "kinit", "-k", "-t", keytab, "-c", "FILE:"+cache, principal)
	return cache
}

// Secure are the settings of a cluster whose users are those of the KDC, with data encrypted on the way.
func (k *KDC) Secure(t testing.TB) map[string]string {
	t.Helper()
	const nn, dn, web = "nn/localhost", "dn/localhost", "HTTP/localhost"
	return map[string]string{
		"hadoop.security.authentication": "kerberos", "hadoop.security.authorization": "true", "fs.permissions.umask-mode": "000",
		"dfs.namenode.kerberos.principal": nn + "@" + Realm, "dfs.namenode.keytab.file": k.Keytab(t, nn),
		"dfs.datanode.kerberos.principal": dn + "@" + Realm, "dfs.datanode.keytab.file": k.Keytab(t, dn),
		"dfs.web.authentication.kerberos.principal": web + "@" + Realm, "dfs.web.authentication.kerberos.keytab": k.Keytab(t, web),
		"dfs.block.access.token.enable": "true", "dfs.encrypt.data.transfer": "true",
		"dfs.encrypt.data.transfer.cipher.suites": "AES/CTR/NoPadding", "ignore.secure.ports.for.testing": "true",
		krb5Conf: k.Conf,
	}
}

// krb5Conf among the settings of a cluster names the file that Java reads.
const krb5Conf = "java.security.krb5.conf"
