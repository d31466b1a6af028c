package hdfs_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	library "github.com/colinmarc/hdfs/v2"
	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
)

// BenchmarkHDFS moves objects up and down, with the driver and with Hadoop's own client in one warm JVM, on the same cluster. They
// take turns within one run; the medians count. The figure java/driver is that of their times: at least 1 for objects of more than
// 16 MiB, which are in BenchmarkHDFS/large.
func BenchmarkHDFS(b *testing.B) {
	c := cluster(b)
	p := startPeer(b, c)
	for _, w := range []struct{ size, atOnce, objects int }{
		{4 << 10, 1, 64}, {4 << 10, 16, 256}, {1 << 20, 1, 16}, {1 << 20, 16, 64}, {16 << 20, 1, 4}, {32 << 20, 16, 16}, {64 << 20, 1, 2}, {256 << 20, 1, 1},
	} {
		class := "small"
		if w.size > 16<<20 {
			class = "large"
		}
		for _, way := range []string{"up", "down"} {
			b.Run(fmt.Sprintf("%s/KiB=%d/at-once=%d/%s", class, w.size>>10, w.atOnce, way), func(b *testing.B) {
				transfer(b, c, p, way, w.size, w.atOnce, w.objects)
			})
		}
	}
}

func transfer(b *testing.B, c *servers.HDFS, p *peer, way string, size, atOnce, objects int) {
	opened := open(b, c.URL("bench", ""))
	defer opened.Close()
	data := bytes.Repeat(random(1<<20), max(1, size>>20))[:size]
	client := bare(b, c)
	var ours, theirs, cpu, theirCPU []float64
	round := 0
	move := func(way string) (time.Duration, float64) {
		var all errgroup.Group
		all.SetLimit(atOnce)
		begun, before := time.Now(), cpuTime()
		for i := range objects {
			all.Go(func() error {
				key := fmt.Sprintf("round-%d/%d", round, i)
				if way == "up" {
					return create(b.Context(), opened.Store, key, data, storage.CreateOptions{}, nil)
				}
				return discard(b, opened.Store, key, int64(size))
			})
		}
		if err := all.Wait(); err != nil {
			b.Fatal(err)
		}
		return time.Since(begun), cpuTime() - before
	}
	folder := func() string { return fmt.Sprintf("/bench-java/round-%d", round) }
	remove := func() {
		for _, path := range []string{"/bench", "/bench-java"} {
			if err := client.RemoveAll(path); err != nil {
				b.Fatal(err)
			}
		}
	}
	if way == "down" {
		move("up")
		p.move(b, "up", folder(), size, objects, atOnce)
		defer remove()
	}
	for range max(3, b.N) {
		wall, used := move(way)
		ours, cpu = append(ours, wall.Seconds()), append(cpu, used)
		wall, used = p.move(b, way, folder(), size, objects, atOnce)
		theirs, theirCPU = append(theirs, wall.Seconds()), append(theirCPU, used)
		if way == "up" {
			remove()
			round++
		}
	}
	mib := float64(size) * float64(objects) / (1 << 20)
	b.ReportMetric(mib/median(ours), "driver-MiB/s")
	b.ReportMetric(mib/median(theirs), "java-MiB/s")
	b.ReportMetric(median(theirs)/median(ours), "java/driver")
	b.ReportMetric(median(cpu)/mib*1024, "driver-cpu-s/GiB")
	b.ReportMetric(median(theirCPU)/mib*1024, "java-cpu-s/GiB")
	b.ReportMetric(peak(b, os.Getpid()), "driver-peak-MiB")
	b.ReportMetric(peak(b, p.pid), "java-peak-MiB")
	b.ReportMetric(0, "ns/op")
}

func discard(b *testing.B, s storage.Store, key string, size int64) error {
	r, err := s.Open(b.Context(), key, 0, -1)
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 128<<10)) // io.Discard alone would read 8 KiB at a time
	if n != size {
		err = errors.Join(err, fmt.Errorf("read %d bytes of %d", n, size))
	}
	return errors.Join(err, r.Close())
}

// BenchmarkHDFSPublish publishes a journal entry, and makes the same calls with the bare library.
func BenchmarkHDFSPublish(b *testing.B) {
	c := cluster(b)
	opened := open(b, c.URL("publish", ""))
	defer opened.Close()
	client, entry := bare(b, c), random(2000)
	if err := client.MkdirAll("/bare/_tmp", 0o755); err != nil {
		b.Fatal(err)
	}
	var ours, theirs []float64
	for n := 0; b.Loop(); n++ {
		begun := time.Now()
		if err := opened.Store.Publish(b.Context(), fmt.Sprintf("job/_journal/%020d", n), entry); err != nil {
			b.Fatal(err)
		}
		ours = append(ours, time.Since(begun).Seconds())
		begun = time.Now()
		if err := barePublish(client, fmt.Sprintf("/bare/_tmp/%d", n), fmt.Sprintf("/bare/%d", n), entry); err != nil {
			b.Fatal(err)
		}
		theirs = append(theirs, time.Since(begun).Seconds())
	}
	b.ReportMetric(1/median(ours), "entries/s")
	b.ReportMetric(median(ours)*1000, "entry-ms")
	b.ReportMetric(median(theirs)*1000, "calls-ms")
	b.ReportMetric(median(ours)/median(theirs), "ratio")
	b.ReportMetric(0, "ns/op")
}

func barePublish(client *library.Client, temp, slot string, entry []byte) error {
	if err := client.Mkdir(temp, 0o755); err != nil {
		return err
	}
	w, err := client.CreateFile(temp+"/e", 1, 64<<20, 0o644)
	if err != nil {
		return err
	}
	if _, err := w.Write(entry); err != nil {
		return err
	}
	for err = w.Close(); library.IsErrReplicating(err); err = w.Close() {
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return err
	}
	if _, err := client.Stat(temp + "/e"); err != nil {
		return err
	}
	return client.Rename(temp, slot)
}

// A peer is a JVM with Hadoop's own client.
type peer struct {
	in  io.Writer
	out *bufio.Scanner
	pid int
}

func startPeer(b *testing.B, c *servers.HDFS) *peer {
	if _, err := exec.LookPath("javac"); err != nil {
		b.Skip("NOT RUN: Hadoop's own client is compiled, which needs a JDK (Debian: apt-get install default-jdk-headless)")
	}
	cmd := c.Java("testdata/Peer.java")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Errorf("the JVM: %v", err)
		}
	})
	p := &peer{in, bufio.NewScanner(out), cmd.Process.Pid}
	for p.out.Scan() { // warnings come before it
		if p.out.Text() == "ready" {
			return p
		}
	}
	b.Fatal("the JVM has ended")
	return p
}

func (p *peer) move(b *testing.B, way, folder string, size, objects, atOnce int) (time.Duration, float64) {
	fmt.Fprintln(p.in, way, folder, size, objects, atOnce)
	var wall, cpu int64
	if !p.out.Scan() {
		b.Fatal("the JVM has ended")
	}
	if _, err := fmt.Sscan(p.out.Text(), &wall, &cpu); err != nil {
		b.Fatalf("the JVM says %q: %v", p.out.Text(), err)
	}
	return time.Duration(wall), float64(cpu) / 1e9
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// cpuTime is the CPU time of this process in seconds.
func cpuTime() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

var peakLine = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peak is the most memory that a process has had so far, in MiB; 0 where the system does not say.
func peak(b *testing.B, pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	m := peakLine.FindSubmatch(text)
	if err != nil || m == nil {
		return 0
	}
	kib, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib / 1024
}
