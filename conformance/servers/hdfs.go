package servers

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Hadoop is the folder in bin/ that holds Hadoop.
const Hadoop = "hadoop"

// HDFS is a running cluster: a NameNode, and DataNodes.
type HDFS struct {
	// User owns everything, and may do everything.
	User string
	// Address is host:port of the NameNode.
	Address string
	// Web is host:port of the NameNode's web server.
	Web string
	// ConfDir holds the Hadoop files.
	ConfDir string

	dir      string
	jars     string
	krb5     string // the file with the settings of Kerberos, if there are any
	web      *http.Client
	namenode *process
	nodes    []*process
	ports    [][3]string
}

// StartHDFS starts a cluster that ends with the test. settings are added to hdfs-site.xml. Without Java, or without Hadoop
// in bin/, it skips the test loudly; in CI it ends the test.
func StartHDFS(t testing.TB, datanodes int, settings map[string]string) *HDFS {
	t.Helper()
	h, err := NewHDFS(t.TempDir(), datanodes, settings)
	if errors.Is(err, errNoHadoop) && !InCI() {
		t.Skipf("NOT RUN: %s needs HDFS: %v", t.Name(), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

var errNoHadoop = errors.New("`make servers` fetches Hadoop, with Java and Maven")

// HaveHDFS reports whether a cluster can be started; the error says what is missing.
func HaveHDFS() error {
	if _, err := exec.LookPath("java"); err != nil {
		return fmt.Errorf("java is missing: %w", errNoHadoop)
	}
	if _, err := find(Hadoop); err != nil {
		return fmt.Errorf("bin/%s is missing: %w", Hadoop, errNoHadoop)
	}
	return nil
}

// NewHDFS starts a cluster whose files lie in dir. The caller closes it.
func NewHDFS(dir string, datanodes int, settings map[string]string) (*HDFS, error) {
	h, err := newHDFS(dir)
	if err != nil {
		return nil, err
	}
	for range 3 { // another process may take a port first
		if err = h.begin(datanodes, settings); err == nil {
			return h, nil
		}
		h.Close()
	}
	return nil, err
}

func newHDFS(dir string) (*HDFS, error) {
	if err := HaveHDFS(); err != nil {
		return nil, err
	}
	hadoop, err := find(Hadoop)
	return &HDFS{User: "ckptd", dir: dir, jars: hadoop, ConfDir: filepath.Join(dir, "conf"),
		web: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}, err
}

// prepare chooses addresses, and writes the Hadoop files.
func (h *HDFS) prepare(datanodes int, settings map[string]string) error {
	ports, err := freePorts(2 + 3*datanodes)
	if err != nil {
		return err
	}
	h.Address, h.Web = ports[0], ports[1]
	h.nodes, h.ports = make([]*process, datanodes), nil
	for i := range datanodes {
		h.ports = append(h.ports, [3]string(ports[2+3*i:]))
	}
	return h.configure(settings)
}

func (h *HDFS) begin(datanodes int, settings map[string]string) error {
	if err := h.prepare(datanodes, settings); err != nil {
		return err
	}
	format := exec.Command("java", h.java("org.apache.hadoop.hdfs.server.namenode.NameNode", "-format", "-force", "-nonInteractive")...)
	format.Env = h.env()
	if out, err := format.CombinedOutput(); err != nil {
		return fmt.Errorf("format the NameNode: %w: %s", err, out)
	}
	if err := h.StartNameNode(); err != nil {
		return err
	}
	for i := range datanodes {
		if err := h.StartDataNode(i); err != nil {
			return err
		}
	}
	return h.Await(datanodes)
}

// configure writes the Hadoop files.
func (h *HDFS) configure(settings map[string]string) error {
	core := map[string]string{"fs.defaultFS": "hdfs://" + h.Address, "hadoop.tmp.dir": filepath.Join(h.dir, "tmp")}
	site := map[string]string{
		"dfs.namenode.rpc-address": h.Address, "dfs.namenode.http-address": h.Web,
		"dfs.namenode.name.dir": "file://" + filepath.Join(h.dir, "nn"), "dfs.replication": "1",
		"dfs.namenode.datanode.registration.ip-hostname-check": "false",
		"dfs.namenode.safemode.min.datanodes":                  "1", "dfs.namenode.safemode.extension": "0",
		"dfs.heartbeat.interval": "1", "dfs.namenode.heartbeat.recheck-interval": "2000",
		"dfs.namenode.fs-limits.min-block-size": "4096", "dfs.blocksize": "64m",
	}
	h.krb5 = settings[krb5Conf]
	for name, value := range settings {
		if strings.HasPrefix(name, "hadoop.") || strings.HasPrefix(name, "fs.") {
			core[name] = value
		} else {
			site[name] = value
		}
	}
	if err := os.MkdirAll(h.ConfDir, 0o755); err != nil {
		return err
	}
	log := "log4j.rootLogger=WARN,out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\nlog4j.appender.out.layout=org.apache.log4j.PatternLayout\n" +
		"log4j.appender.out.layout.ConversionPattern=%d{HH:mm:ss,SSS} %p %c{1}: %m%n\n"
	return errors.Join(
		os.WriteFile(filepath.Join(h.ConfDir, "core-site.xml"), hadoopFile(core), 0o644),
		os.WriteFile(filepath.Join(h.ConfDir, "hdfs-site.xml"), hadoopFile(site), 0o644),
		os.WriteFile(filepath.Join(h.ConfDir, "log4j.properties"), []byte(log), 0o644))
}

func hadoopFile(settings map[string]string) []byte {
	text := "<?xml version=\"1.0\"?>\n<configuration>\n"
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if settings[name] == "" {
			continue // the default
		}
		text += fmt.Sprintf("  <property><name>%s</name><value>%s</value></property>\n", name, settings[name])
	}
	return []byte(text + "</configuration>\n")
}

func (h *HDFS) java(class string, args ...string) []string {
	path := h.ConfDir + ":" + h.jars + ":" + filepath.Join(h.jars, "jars", "*")
	return append([]string{"-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-D" + krb5Conf + "=" + cmp.Or(h.krb5, os.DevNull), "--add-opens", "java.base/java.lang=ALL-UNNAMED",
		"-cp", path, class}, args...)
}

func (h *HDFS) env() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HADOOP_CONF_DIR=" + h.ConfDir, "HADOOP_USER_NAME=" + h.User, "HOME=" + h.dir}
}

func (h *HDFS) start(class string, args ...string) (*process, error) {
	path, err := exec.LookPath("java")
	if err != nil {
		return nil, err
	}
	return start(path, h.env(), h.java(class, args...)...)
}

// Java returns a program of Hadoop's class path, by its class or its source, which the caller starts.
func (h *HDFS) Java(class string, args ...string) *exec.Cmd {
	all := h.java(class, args...)
	all[0] = "-Xmx1g" // it is measured
	cmd := exec.Command("java", slices.DeleteFunc(all, func(arg string) bool { return strings.HasPrefix(arg, "-XX:") })...)
	cmd.Env, cmd.SysProcAttr = h.env(), tied()
	return cmd
}

// StartNameNode starts the NameNode, again on the same address and data after KillNameNode. Await waits for it.
func (h *HDFS) StartNameNode() (err error) {
	h.namenode, err = h.start("org.apache.hadoop.hdfs.server.namenode.NameNode")
	return err
}

// StartDataNode starts a DataNode, again on the same addresses and data after KillDataNode.
func (h *HDFS) StartDataNode(i int) (err error) {
	host := "127.0.0.1"
	p := h.ports[i]
	h.nodes[i], err = h.start("org.apache.hadoop.hdfs.server.datanode.DataNode",
		"-D", fmt.Sprintf("dfs.datanode.data.dir=file://%s/dn%d", h.dir, i), "-D", "dfs.datanode.address="+p[0], "-D", "dfs.datanode.ipc.address="+p[1],
		"-D", "dfs.datanode.http.address="+p[2], "-D", "dfs.datanode.hostname="+host)
	return err
}

// Await waits until the NameNode works, out of safe mode, with this number of DataNodes, and every DataNode that runs has registered:
// the NameNode counts one that was killed for seconds more.
func (h *HDFS) Await(datanodes int) error {
	var last error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if !h.namenode.running() {
			return fmt.Errorf("the NameNode ended: %s", h.namenode.log)
		}
		state, live, err := h.State()
		if err == nil && (state != "Operational" || live != datanodes) {
			err = fmt.Errorf("state %s with %d DataNodes", state, live)
		}
		for i, node := range h.nodes {
			if err == nil && node.running() {
				err = h.registered(i)
			}
		}
		if err == nil {
			return nil
		}
		last = err
	}
	return fmt.Errorf("HDFS is not ready after a minute: %w; NameNode: %s", last, h.namenode.log)
}

// State is the NameNode's state ("Operational", "safeMode"), and its number of live DataNodes.
func (h *HDFS) State() (state string, live int, err error) {
	names, err := ask[struct {
		FSState          string
		NumLiveDataNodes int
	}](h.web, h.Web, "NameNode,name=FSNamesystemState")
	if err != nil {
		return "", 0, err
	}
	return names.FSState, names.NumLiveDataNodes, nil
}

// registered returns an error until DataNode i has told the NameNode its blocks.
func (h *HDFS) registered(i int) error {
	info, err := ask[struct{ BPServiceActorInfo string }](h.web, h.ports[i][2], "DataNode,name=DataNodeInfo")
	if err == nil && !strings.Contains(info.BPServiceActorInfo, `"ActorState":"RUNNING"`) {
		err = fmt.Errorf("DataNode %d is not registered: %s", i, info.BPServiceActorInfo)
	}
	return err
}

// ask reads a bean from the web server of a daemon.
func ask[T any](client *http.Client, address, bean string) (answer T, err error) {
	resp, err := client.Get("http://" + address + "/jmx?qry=Hadoop:service=" + bean)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer, err
	}
	var all struct{ Beans []T }
	if err := json.Unmarshal(body, &all); err != nil || len(all.Beans) != 1 {
		return answer, fmt.Errorf("%s says %.200s (%w)", address, body, err)
	}
	return all.Beans[0], nil
}

// KillNameNode ends the NameNode at once, as a crash would.
func (h *HDFS) KillNameNode() { h.namenode.kill() }

// KillDataNode ends DataNode i at once, as a crash would.
func (h *HDFS) KillDataNode(i int) { h.nodes[i].kill() }

// PauseNameNode stops the NameNode, as a long collection of garbage would, until it is resumed.
func (h *HDFS) PauseNameNode(paused bool) error { return signal(h.namenode, paused) }

// PauseDataNode stops DataNode i until it is resumed.
func (h *HDFS) PauseDataNode(i int, paused bool) error { return signal(h.nodes[i], paused) }

func signal(p *process, paused bool) error {
	if paused {
		return p.cmd.Process.Signal(syscall.SIGSTOP)
	}
	return p.cmd.Process.Signal(syscall.SIGCONT)
}

// Admin runs a tool of Hadoop's: "dfsadmin" or "fs", with its arguments.
func (h *HDFS) Admin(tool string, args ...string) (string, error) {
	class := map[string]string{"dfsadmin": "org.apache.hadoop.hdfs.tools.DFSAdmin", "fs": "org.apache.hadoop.fs.FsShell", "ec": "org.apache.hadoop.hdfs.tools.ECAdmin",
		"haadmin": "org.apache.hadoop.hdfs.tools.DFSHAAdmin"}[tool]
	cmd := exec.Command("java", h.java(class, args...)...)
	cmd.Env = h.env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("hdfs %s %s: %w: %s", tool, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// SetQuota sets the quotas of names and of space of a path; -1 is none.
func (h *HDFS) SetQuota(path string, names, space int64) error {
	at := fmt.Sprintf("http://%s/webhdfs/v1%s?op=SETQUOTA&user.name=%s&namespacequota=%d&storagespacequota=%d", h.Web, path, h.User, names, space)
	req, err := http.NewRequest(http.MethodPut, at, nil)
	if err != nil {
		return err
	}
	resp, err := h.web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		return fmt.Errorf("set the quota of %s: %s: %s", path, resp.Status, body)
	}
	return nil
}

// Close ends all of it.
func (h *HDFS) Close() {
	for _, p := range append([]*process{h.namenode}, h.nodes...) {
		if p != nil {
			p.kill()
		}
	}
	h.web.CloseIdleConnections()
}

// URL returns the URL of a store below a path, in ckptd's form. extra is its query: "timeout=1s".
func (h *HDFS) URL(path, extra string) string { return h.URLAt(h.Address, path, extra) }

// URLAt is URL with another address of the NameNode, such as a proxy's.
func (h *HDFS) URLAt(address, path, extra string) string {
	query := url.Values{"conf": {h.ConfDir}}
	return "hdfs://" + h.User + "@" + address + "/" + path + "?" + query.Encode() + strings.TrimSuffix("&"+extra, "&")
}

// freePorts returns addresses of this machine that are free at the moment.
func freePorts(n int) (all []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		all = append(all, l.Addr().String())
	}
	return all, nil
}
