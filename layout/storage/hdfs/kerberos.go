package hdfs

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/colinmarc/hdfs/v2/hadoopconf"
	krb "github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/keytab"
)

// login gets credentials from a keytab (keytab= and principal= of the URL, or ckptd.keytab.file and
// ckptd.kerberos.principal of the Hadoop files), or else from the ticket cache.
func login(c Config, conf hadoopconf.HadoopConf) (*krb.Client, error) {
	path := cmp.Or(os.Getenv("KRB5_CONFIG"), "/etc/krb5.conf")
	settings, err := config.Load(path)
	if err != nil {
		return nil, fmt.Errorf("log in by Kerberos: %s: %w; KRB5_CONFIG names the file", path, err)
	}
	file := cmp.Or(c.Keytab, conf["ckptd.keytab.file"])
	if file == "" {
		return fromCache(settings, conf)
	}
	principal := cmp.Or(c.Principal, conf["ckptd.kerberos.principal"])
	if principal == "" {
		return nil, fmt.Errorf("log in by Kerberos: no principal for the keytab %s; say principal=, or ckptd.kerberos.principal in the Hadoop files", file)
	}
	keys, err := keytab.Load(file)
	if err != nil {
		return nil, fmt.Errorf("log in by Kerberos: keytab %s: %w", file, err)
	}
	name, realm, ok := strings.Cut(principal, "@")
	if !ok {
		realm = settings.LibDefaults.DefaultRealm
	}
	k := krb.NewWithKeytab(name, realm, keys, settings, krb.DisablePAFXFAST(true))
	if err := k.Login(); err != nil {
		k.Destroy()
		return nil, fmt.Errorf("log in by Kerberos: log in as %s@%s with %s: %w", name, realm, file, err)
	}
	return k, nil
}

func fromCache(settings *config.Config, conf hadoopconf.HadoopConf) (*krb.Client, error) {
	path := cmp.Or(conf["hadoop.security.kerberos.ticket.cache.path"], strings.TrimPrefix(os.Getenv("KRB5CCNAME"), "FILE:"),
		fmt.Sprintf("/tmp/krb5cc_%d", os.Getuid()))
	cache, err := credentials.LoadCCache(path)
	if err != nil {
		return nil, fmt.Errorf("log in by Kerberos: ticket cache %s: %w; run kinit, or give a keytab (keytab=), which also renews itself", path, err)
	}
	k, err := krb.NewFromCCache(cache, settings, krb.DisablePAFXFAST(true))
	if err != nil {
		return nil, fmt.Errorf("log in by Kerberos: ticket cache %s: %w; run kinit, or give a keytab (keytab=)", path, err)
	}
	return k, nil
}
