package hdfs

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/colinmarc/hdfs/v2"
	"github.com/colinmarc/hdfs/v2/hadoopconf"
	krb "github.com/jcmturner/gokrb5/v8/client"
)

// A cluster is what Config and the Hadoop files together say.
type cluster struct {
	options     hdfs.ClientOptions
	conf        hadoopconf.HadoopConf
	service     string // the name service, if Config names one
	replication int    // 0: the NameNode's
	blockSize   int64  // 0: the NameNode's
	fileMode    os.FileMode
	folderMode  os.FileMode
	kerberos    *krb.Client // nil without Kerberos
}

// resolve reads the Hadoop files, and logs in where they ask for Kerberos.
func resolve(c Config) (cluster, error) {
	conf, err := loadConf(c.ConfDir)
	if err != nil {
		return cluster{}, err
	}
	r := cluster{conf: conf, options: hdfs.ClientOptionsFromConf(conf), replication: c.Replication, blockSize: c.BlockSize}
	if r.service, r.options.Addresses, err = addresses(c.Hosts, conf); err != nil {
		return cluster{}, err
	}
	if r.options.DataTransferProtection == "integrity" {
		return cluster{}, errors.New("the Hadoop files: dfs.data.transfer.protection is integrity, which the client library cannot read; " + wantAES)
	}
	if text := conf["dfs.replication"]; r.replication == 0 && text != "" {
		if err := setReplication(&c, text); err != nil {
			return cluster{}, fmt.Errorf("the Hadoop files: dfs.%w", err)
		}
		r.replication = c.Replication
	}
	if text := conf["dfs.blocksize"]; r.blockSize == 0 && text != "" {
		if err := setBlockSize(&c, text); err != nil {
			return cluster{}, fmt.Errorf("the Hadoop files: dfs.%w", err)
		}
		r.blockSize = c.BlockSize
	}
	mask := uint64(0o022)
	if text := conf["fs.permissions.umask-mode"]; text != "" {
		if mask, err = strconv.ParseUint(text, 8, 9); err != nil {
			return cluster{}, fmt.Errorf("the Hadoop files: fs.permissions.umask-mode is %.20q, want an octal number as 022", text)
		}
	}
	r.fileMode, r.folderMode = 0o666&^os.FileMode(mask), 0o777&^os.FileMode(mask)
	if r.options.KerberosClient == nil {
		if c.Keytab != "" || c.Principal != "" {
			return cluster{}, errors.New("keytab= and principal= need hadoop.security.authentication to be kerberos in the Hadoop files (HADOOP_CONF_DIR, or conf=)")
		}
		r.options.User, err = userName(c.User)
		return r, err
	}
	if r.kerberos, err = login(c, conf); err != nil {
		return cluster{}, err
	}
	r.options.KerberosClient = r.kerberos
	return r, nil
}

// wantAES is advice where data is protected on its way. Of the ways of a DataNode the library can read only one.
const wantAES = "let NameNodes and DataNodes have privacy, with dfs.encrypt.data.transfer.cipher.suites set to AES/CTR/NoPadding"

// loadConf reads core-site.xml and hdfs-site.xml, if there are any.
func loadConf(dir string) (hadoopconf.HadoopConf, error) {
	if dir == "" {
		conf, err := hadoopconf.LoadFromEnvironment()
		if err != nil {
			return nil, fmt.Errorf("the Hadoop files: %w; mend them, or let HADOOP_CONF_DIR name the right folder", err)
		}
		return conf, nil
	}
	conf, err := hadoopconf.Load(dir)
	if err == nil && conf == nil {
		err = errors.New("there is neither core-site.xml nor hdfs-site.xml")
	}
	if err != nil {
		return nil, fmt.Errorf("the Hadoop files in %s: %w", dir, err)
	}
	return conf, nil
}

// addresses returns the NameNodes to ask, and their name service if they have one.
func addresses(hosts []string, conf hadoopconf.HadoopConf) (service string, all []string, err error) {
	if len(hosts) == 0 {
		scheme, rest, ok := strings.Cut(conf["fs.defaultFS"], "://")
		switch host, _, _ := strings.Cut(rest, "/"); {
		case ok && scheme == "hdfs" && host != "":
			hosts = []string{host}
		case ok && scheme == "viewfs":
			return "", nil, errors.New("fs.defaultFS is a viewfs, which joins several clusters; name one of them: hdfs://nameservice/dir")
		default:
			return "", nil, errors.New("no NameNode is named, neither in the URL nor as fs.defaultFS in the Hadoop files (HADOOP_CONF_DIR)")
		}
	}
	if len(hosts) == 1 {
		name := serviceName(hosts[0], conf)
		if name == "" {
			return "", []string{withPort(hosts[0])}, nil
		}
		for id := range strings.SplitSeq(conf["dfs.ha.namenodes."+name], ",") {
			key := "dfs.namenode.rpc-address." + name + "." + strings.TrimSpace(id)
			if conf[key] == "" {
				return "", nil, fmt.Errorf("the Hadoop files have no %s", key)
			}
			all = append(all, withPort(conf[key]))
		}
		return name, all, nil
	}
	for _, host := range hosts {
		all = append(all, withPort(host))
	}
	return "", all, nil
}

// serviceName returns the name service that a host names, in the spelling of the Hadoop files, or "".
func serviceName(host string, conf hadoopconf.HadoopConf) string {
	for key := range conf {
		if name, ok := strings.CutPrefix(key, "dfs.ha.namenodes."); ok && strings.EqualFold(name, host) {
			return name
		}
	}
	return ""
}

// userName returns the user without Kerberos: the URL's, HADOOP_USER_NAME, or that of this process.
func userName(fromURL string) (string, error) {
	if fromURL != "" {
		return fromURL, nil
	}
	if name := os.Getenv("HADOOP_USER_NAME"); name != "" {
		return name, nil
	}
	current, err := user.Current()
	if err != nil {
		return "", fmt.Errorf("no user for HDFS: %w; name one in the URL (hdfs://user@namenode/dir) or as HADOOP_USER_NAME", err)
	}
	return filepath.Base(strings.ReplaceAll(current.Username, `\`, "/")), nil
}

// webAddresses returns the addresses of the NameNodes' web servers, in the order of their other addresses.
func (r cluster) webAddresses() []string {
	var all []string
	for _, id := range strings.Split(r.conf["dfs.ha.namenodes."+r.service], ",") {
		if at := r.conf["dfs.namenode.http-address."+r.service+"."+strings.TrimSpace(id)]; at != "" && r.service != "" {
			all = append(all, at)
		}
	}
	if at := r.conf["dfs.namenode.http-address"]; at != "" && len(all) == 0 {
		all = append(all, at)
	}
	for _, address := range r.options.Addresses {
		host, _, _ := strings.Cut(address, ":")
		if at := host + ":9870"; len(all) == 0 || !slices.Contains(all, at) && r.conf == nil {
			all = append(all, at)
		}
	}
	return all
}
