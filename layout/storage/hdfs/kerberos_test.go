package hdfs_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
)

// TestKerberos: with a keytab and with a ticket cache, over encrypted connections; and without any of them, an error that says
// what is missing.
func TestKerberos(t *testing.T) {
	if os.Getenv("CKPTD_NIGHTLY") != "1" {
		t.Skip("`make nightly` runs it")
	}
	kdc := servers.StartKDC(t)
	settings := kdc.Secure(t)
	c := servers.StartHDFS(t, 1, settings)
	t.Setenv("KRB5_CONFIG", kdc.Conf)
	t.Setenv("KRB5CCNAME", "")
	data := random(3 << 20)
	use := func(url, who string) {
		t.Helper()
		opened := open(t, url)
		defer opened.Close()
		if notes := strings.Join(opened.Facts.Notes, " "); !strings.Contains(notes, who+" (Kerberos)") {
			t.Errorf("notes %q, want the principal %s", notes, who)
		}
		must(t, opened.Store.Publish(t.Context(), "job/_journal/"+who[:2], []byte("x")))
		must(t, create(t.Context(), opened.Store, "job/shared/"+who[:2], data, storage.CreateOptions{}, nil))
		if got, err := readAll(t.Context(), opened.Store, "job/shared/"+who[:2]); err != nil || !bytes.Equal(got, data) {
			t.Errorf("read %d bytes, %v; want what was written", len(got), err)
		}
	}
	use(c.URL("secure", "keytab="+settings["dfs.namenode.keytab.file"]+"&principal=nn/localhost@"+servers.Realm), "nn/localhost")
	keytab := kdc.Keytab(t, "people")
	if _, err := tryOpen(t, c.URL("secure", "")); err == nil || !strings.Contains(err.Error(), "kinit") {
		t.Errorf("without a ticket: %v, want an error that says what to do", err)
	}
	t.Setenv("KRB5CCNAME", "FILE:"+kdc.Ticket(t, "people", keytab))
	use(c.URL("secure", ""), "people")
	if _, err := tryOpen(t, c.URL("secure", "principal=nobody&keytab="+keytab)); err == nil || !strings.Contains(err.Error(), "log in as nobody") {
		t.Errorf("with another's keytab: %v, want an error that names the principal", err)
	}
}
