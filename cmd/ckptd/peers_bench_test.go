package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/conformance/servers"
)

const (
	// stateFiles is how many files a state has; freshFiles of them are replaced before each round.
	stateFiles, freshFiles = 500, 5
	// peerRounds is how often that happens, after a first backup of everything.
	peerRounds = 10
	// peersKeep is what stays of the eleven when nine are pruned.
	peersKeep = 2
)

// BenchmarkPeers keeps a state of many files, of which 1 % are new each time, ten times over: by a job's checkpoints, by restic and
// by kopia, in turn, each time with another one first. Then nine are pruned. CKPTD_MB is the size of the state: 100 MB. Each is one
// process, whose start counts: `ckptd trigger`, which asks the job's worker by the daemon and returns when the checkpoint is
// complete, `restic backup`, `kopia snapshot create`. It reports, for the first, the later ones, and the pruning,
//
//	restic/ckptd, kopia/ckptd  the ratios of the medians of the times: above 1 each
func BenchmarkPeers(b *testing.B) {
	mb, err := strconv.Atoi(os.Getenv("CKPTD_MB"))
	if err != nil {
		mb = 100
	}
	p := &peers{B: b, dir: b.TempDir(), fileSize: mb * 1_000_000 / stateFiles}
	p.room(int64(mb) * 5_000_000)
	p.must(os.Mkdir(p.state(), 0o777))
	p.fresh(stateFiles)
	p.methods = []*method{p.ckptd()}
	if path := servers.Restic(b); path != "" {
		p.methods = append(p.methods, p.restic(path))
	}
	if path := servers.Kopia(b); path != "" {
		p.methods = append(p.methods, p.kopia(path))
	}
	p.compare("first", func(m *method) { m.keep() })
	for range peerRounds {
		p.fresh(freshFiles)
		p.compare("again with 1 % new files", func(m *method) { m.keep() })
	}
	for _, m := range p.methods {
		if m.settle != nil {
			m.settle()
		}
	}
	p.compare("pruning 9 of 11", func(m *method) { m.prune() })
	for _, name := range []string{"first", "again with 1 % new files", "pruning 9 of 11"} {
		b.Run(fmt.Sprintf("MB=%d/%s", mb, name), func(b *testing.B) { p.report(b, name) })
	}
}

// A method keeps what is in the state's folder.
type method struct {
	name, folder string // folder is where it keeps things
	keep, prune  func()
	settle       func()               // what must be set before the pruning; nil: nothing
	times        map[string][]float64 // in seconds
	bytes        map[string]int64     // what the folder holds afterwards
}

type peers struct {
	*testing.B
	dir      string
	fileSize int
	names    []string // of the state's files, the oldest first
	made     int
	methods  []*method
	turn     int // whose turn it is to be first
}

func (p *peers) state() string { return filepath.Join(p.dir, "state") }

func (p *peers) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// room fails if the disk has less free.
func (p *peers) room(bytes int64) {
	p.Helper()
	var st syscall.Statfs_t
	p.must(syscall.Statfs(p.dir, &st))
	if free := int64(st.Bavail) * st.Bsize; free < bytes {
		p.Fatalf("%s has %d MB free, and this needs %d MB: set TMPDIR to a folder with more room, or a smaller CKPTD_MB", p.dir, free/1e6, bytes/1e6)
	}
}

// fresh makes new files in place of the oldest. What a file holds has no pattern, and no two files hold the same.
func (p *peers) fresh(n int) {
	p.Helper()
	data := make([]byte, p.fileSize)
	for range n {
		if len(p.names) == stateFiles {
			p.must(os.Remove(filepath.Join(p.state(), p.names[0])))
			p.names = p.names[1:]
		}
		p.made++
		_, _ = rand.NewChaCha8([32]byte{byte(p.made), byte(p.made >> 8)}).Read(data)
		name := fmt.Sprintf("%06d.sst", p.made)
		p.must(os.WriteFile(filepath.Join(p.state(), name), data, 0o666))
		p.names = append(p.names, name)
	}
}

// compare has each method do the same once. What one has not yet written to the disk does not burden the next.
func (p *peers) compare(what string, do func(*method)) {
	p.Helper()
	for i := range p.methods {
		m := p.methods[(i+p.turn)%len(p.methods)]
		syscall.Sync()
		began := time.Now()
		do(m)
		m.times[what] = append(m.times[what], time.Since(began).Seconds())
		m.bytes[what] = p.size(m.folder)
	}
	p.turn++
}

// size is the sum of the sizes of the files below a folder.
func (p *peers) size(folder string) (sum int64) {
	p.Helper()
	p.must(filepath.WalkDir(folder, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	}))
	return sum
}

func (p *peers) report(b *testing.B, what string) {
	b.ReportMetric(0, "ns/op")
	ours := middle(p.methods[0].times[what])
	for i, m := range p.methods {
		took := middle(m.times[what])
		b.ReportMetric(took, m.name+"-s")
		b.ReportMetric(float64(m.bytes[what])/1e6, m.name+"-MB")
		if i > 0 {
			b.ReportMetric(took/ours, m.name+"/ckptd")
		}
	}
}

// method is one that keeps things in a folder of this name.
func (p *peers) method(name string) *method {
	p.Helper()
	m := &method{name: name, folder: filepath.Join(p.dir, name), times: map[string][]float64{}, bytes: map[string]int64{}}
	p.must(os.Mkdir(m.folder, 0o777))
	return m
}

// run runs a command with more variables of the environment.
func (p *peers) run(environment []string, name string, args ...string) {
	p.Helper()
	cmd := exec.CommandContext(p.Context(), name, args...)
	cmd.Env = append(os.Environ(), environment...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		p.Fatalf("%s %v: %v\n%s", name, args, err, &said)
	}
}

// ckptd is a job with one worker in this process and a daemon of its own. Its files are named to the daemon at each checkpoint; only
// those that it does not know are sent.
func (p *peers) ckptd() *method {
	p.Helper()
	m := p.method("ckptd")
	w := &benchWorker{atOnce: 4}
	w.serve(p.B, m.folder)
	config := client.DefaultConfig(0)
	config.NumRetained = peerRounds + 1
	w.attach(p.B, client.JobSpec{ID: "j", Config: config})
	go p.work(w)
	m.keep = func() { p.run(nil, os.Args[0], "trigger", "j", "--server", w.url) }
	m.prune = func() {
		p.run(nil, os.Args[0], "forget", m.folder, "--keep-last", strconv.Itoa(peersKeep), "--yes", "--now", "--prune")
	}
	return m
}

// work snapshots the state's folder at each trigger, until the benchmark ends.
func (p *peers) work(w *benchWorker) {
	for {
		cmd, err := w.session.Next(p.Context())
		t, ok := cmd.(client.Trigger)
		if ok {
			var pieces []client.Piece
			for _, name := range p.names {
				pieces = append(pieces, client.Piece{
					Name: name, InstanceNonce: "q5bshxvkjmlp3ynwz6dta2cefo", Scope: client.Shared, Size: int64(p.fileSize),
					Open: func() (io.ReadCloser, error) { return os.Open(filepath.Join(p.state(), name)) },
				})
			}
			err = w.job.Snapshot(p.Context(), client.Snapshot{Attempt: t.Attempt, Epoch: t.Epoch, Checkpoint: t.Checkpoint,
				Subtasks: []client.SubtaskSnapshot{{Subtask: benchSubtasks[0], Pieces: pieces}}})
		}
		if p.Context().Err() != nil {
			return
		}
		if err != nil {
			p.Error(err)
			return
		}
	}
}

// restic keeps backups without compression, for the bytes have no pattern, and without looking through the folder beforehand.
func (p *peers) restic(path string) *method {
	p.Helper()
	m := p.method("restic")
	environment := []string{"RESTIC_PASSWORD=secret", "RESTIC_REPOSITORY=" + m.folder, "RESTIC_CACHE_DIR=" + filepath.Join(p.dir, "restic-cache"), "HOME=" + p.dir}
	p.run(environment, path, "init", "--quiet")
	m.keep = func() { p.run(environment, path, "backup", "--quiet", "--no-scan", "--compression", "off", p.state()) }
	m.prune = func() {
		p.run(environment, path, "forget", "--quiet", "--keep-last", strconv.Itoa(peersKeep), "--prune")
	}
	return m
}

// kopia keeps snapshots; it compresses nothing unless told to. Its maintenance waits for hours before it deletes what is gone, unless
// it is told that nobody else uses the repository.
func (p *peers) kopia(path string) *method {
	p.Helper()
	m := p.method("kopia")
	environment := []string{"KOPIA_PASSWORD=secret", "KOPIA_CONFIG_PATH=" + filepath.Join(p.dir, "kopia.json"), "KOPIA_CHECK_FOR_UPDATES=false",
		"KOPIA_LOG_DIR=" + filepath.Join(p.dir, "kopia-log"), "HOME=" + p.dir}
	kept := func(n int) {
		p.run(environment, path, "policy", "set", "--global", "--keep-latest", strconv.Itoa(n), "--keep-hourly", "0", "--keep-daily", "0",
			"--keep-weekly", "0", "--keep-monthly", "0", "--keep-annual", "0")
	}
	p.run(environment, path, "repository", "create", "filesystem", "--path", m.folder, "--cache-directory", filepath.Join(p.dir, "kopia-cache"))
	kept(peerRounds + 1)
	m.keep = func() { p.run(environment, path, "snapshot", "create", p.state(), "--no-progress") }
	m.settle = func() { kept(peersKeep) }
	m.prune = func() {
		p.run(environment, path, "snapshot", "expire", "--all", "--delete")
		p.run(environment, path, "maintenance", "run", "--full", "--safety=none")
	}
	return m
}
