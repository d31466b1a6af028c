package servers

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A Pair is a cluster of two NameNodes that share their edits, and one DataNode. One NameNode is active.
type Pair struct {
	*HDFS
	namenodes [2]*process
	webs      [2]string
}

// StartHDFSPair starts a pair, which ends with the test, with NameNode 0 active. Its name service is "pair".
func StartHDFSPair(t testing.TB) *Pair {
	t.Helper()
	if err := HaveHDFS(); err != nil && !InCI() {
		t.Skipf("NOT RUN: %s needs HDFS: %v", t.Name(), err)
	}
	ports, err := freePorts(4)
	if err != nil {
		t.Fatal(err)
	}
	h, err := newHDFS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := &Pair{HDFS: h, webs: [2]string(ports[2:])}
	t.Cleanup(p.Close)
	settings := map[string]string{
		"fs.defaultFS": "hdfs://pair", "dfs.nameservices": "pair", "dfs.ha.namenodes.pair": "a,b", "dfs.ha.fencing.methods": "shell(/bin/true)",
		"dfs.namenode.shared.edits.dir": "file://" + filepath.Join(h.dir, "edits"), "dfs.ha.tail-edits.period": "1",
		"dfs.client.failover.proxy.provider.pair": "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider",
	}
	for i, id := range []string{"a", "b"} {
		settings["dfs.namenode.rpc-address.pair."+id], settings["dfs.namenode.http-address.pair."+id] = ports[i], ports[2+i]
		settings["dfs.namenode.name.dir.pair."+id] = fmt.Sprintf("file://%s/nn%d", h.dir, i)
	}
	for _, none := range []string{"dfs.namenode.rpc-address", "dfs.namenode.http-address", "dfs.namenode.name.dir"} {
		settings[none] = ""
	}
	if err := errors.Join(h.prepare(1, settings), p.begin()); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *Pair) begin() error {
	const class = "org.apache.hadoop.hdfs.server.namenode.NameNode"
	for i, args := range [][]string{{"-D", "dfs.ha.namenode.id=a", "-format", "-force", "-nonInteractive"}, {"-D", "dfs.ha.namenode.id=b", "-bootstrapStandby", "-force", "-nonInteractive"}} {
		cmd := exec.Command("java", p.java(class, args...)...)
		cmd.Env = p.env()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("prepare NameNode %d: %w: %s", i, err, out)
		}
		if err := p.StartOf(i); err != nil {
			return err
		}
		if err := p.awaitWeb(i); err != nil {
			return err
		}
	}
	if err := p.StartDataNode(0); err != nil {
		return err
	}
	return p.Activate(0)
}

// StartOf starts NameNode i, which is on standby at first.
func (p *Pair) StartOf(i int) (err error) {
	p.namenodes[i], err = p.start("org.apache.hadoop.hdfs.server.namenode.NameNode", "-D", "dfs.ha.namenode.id="+string('a'+rune(i)))
	return err
}

// KillOf ends NameNode i at once, as a crash would.
func (p *Pair) KillOf(i int) { p.namenodes[i].kill() }

// Activate makes NameNode i the active one, and waits until it works.
func (p *Pair) Activate(i int) error {
	if _, err := p.Admin("haadmin", "-transitionToActive", "--forceactive", string('a'+rune(i))); err != nil {
		return err
	}
	p.Web, p.namenode = p.webs[i], p.namenodes[i]
	return p.Await(1)
}

// Demote makes NameNode i a standby.
func (p *Pair) Demote(i int) error {
	_, err := p.Admin("haadmin", "-transitionToStandby", string('a'+rune(i)))
	return err
}

// awaitWeb waits until NameNode i answers at all.
func (p *Pair) awaitWeb(i int) error {
	var last error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		select {
		case <-p.namenodes[i].done:
			return fmt.Errorf("NameNode %d ended: %s", i, p.namenodes[i].log)
		default:
		}
		resp, err := p.web.Get("http://" + p.webs[i] + "/jmx?qry=Hadoop:service=NameNode,name=NameNodeStatus")
		if last = err; err == nil {
			resp.Body.Close()
			return nil
		}
	}
	return fmt.Errorf("NameNode %d is not ready after a minute: %w: %s", i, last, p.namenodes[i].log)
}

// Close ends all of it.
func (p *Pair) Close() {
	for _, n := range p.namenodes {
		if n != nil {
			n.kill()
		}
	}
	p.namenode = nil
	p.HDFS.Close()
}

// URL returns the URL of a store below a path, by the name service.
func (p *Pair) URL(path string) string {
	return "hdfs://" + p.User + "@pair/" + path + "?conf=" + p.ConfDir
}
