package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ckptd/ckptd/client"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/launch"
	"github.com/ckptd/ckptd/conformance/certs"
	"github.com/ckptd/ckptd/proto/address"
)

// adminOf gives the calls for people at daemons that ask for no credentials.
func adminOf(servers ...string) (*client.Client, *client.Admin, error) {
	return adminWith(address.CredentialFiles{}, servers...)
}

// The tokens of the test. None may show anywhere.
const (
	engineToken = "engine-3f9c1b7a5d2e4f60"
	peerToken   = "peer-8a7b6c5d4e3f2a1b0c"
	readerToken = "reader-1029384756abcdef"
	wrongToken  = "wrong-abcdef1029384756"
)

// secured is a root whose daemons want TLS and roles, and everything that was printed.
type secured struct {
	t         *testing.T
	ctx       context.Context
	dir, root string
	ca        *certs.CA
	cert, key string
	printed   bytes.Buffer
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	s := &secured{t: t, ctx: ctx, dir: t.TempDir(), ca: certs.New(t)}
	s.root = filepath.Join(s.dir, "root")
	s.cert, s.key = s.ca.Issue("daemon", "127.0.0.1", "localhost")
	s.write("access", fmt.Sprintf("clicks run sha256:%x\ndaemons read token:%s\nprometheus read token:%s\nops run,delete certificate\n",
		sha256.Sum256([]byte(engineToken)), peerToken, readerToken))
	s.write("engine", engineToken+"\n")
	s.write("peer", peerToken)
	s.write("reader", readerToken)
	s.write("wrong", wrongToken)
	return s
}

func (s *secured) path(name string) string { return filepath.Join(s.dir, name) }

func (s *secured) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// start starts a process of ckptd whose output goes to a log file.
func (s *secured) start(name string, env []string, args ...string) *exec.Cmd {
	s.t.Helper()
	log, err := os.Create(s.path(name + ".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.CommandContext(s.ctx, os.Args[0], args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", name, s.log(name))
		}
	})
	return cmd
}

func (s *secured) log(name string) string {
	b, _ := os.ReadFile(s.path(name + ".log"))
	return string(b)
}

var listening = regexp.MustCompile(`msg=listening url=(\S+)`)

// daemon starts a daemon and returns its URL.
func (s *secured) daemon(name string) string {
	s.t.Helper()
	s.start(name, []string{"CKPTD_TOKEN_FILE=" + s.path("peer")}, "serve", "--root", s.root, "--listen", "127.0.0.1:0", "--log-level", "debug",
		"--tls-cert", s.cert, "--tls-key", s.key, "--tls-client-ca", s.ca.File(), "--access", s.path("access"), "--tls-ca", s.ca.File())
	for {
		if m := listening.FindStringSubmatch(s.log(name)); m != nil {
			return m[1]
		}
		if !launch.Sleep(s.ctx, pollEvery) {
			s.t.Fatalf("%s does not listen", name)
		}
	}
}

// run runs a verb and keeps what it prints.
func (s *secured) run(want int, args ...string) string {
	s.t.Helper()
	var out bytes.Buffer
	if code := run(s.ctx, args, &out, &out); code != want {
		s.t.Errorf("%s: exit code %d, want %d\n%s", strings.Join(args, " "), code, want, &out)
	}
	s.printed.Write(out.Bytes())
	return out.String()
}

// get is what curl prints, with the status before it.
func (s *secured) get(url, token string) string {
	s.t.Helper()
	c, err := address.NewCredentials(address.CredentialFiles{CA: s.ca.File(), Token: token})
	if err != nil {
		s.t.Fatal(err)
	}
	at, err := address.Parse(url)
	if err != nil {
		s.t.Fatal(err)
	}
	transport := at.Transport(&address.Options{Credentials: c})
	defer transport.CloseIdleConnections()
	path := "/metrics"
	if token == "" {
		path = "/healthz"
	}
	res, err := at.Client(transport, c).Get(url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.printed.Write(b)
	return fmt.Sprintf("%d %s", res.StatusCode, b)
}

// serial is the serial number of the certificate that a daemon shows to a new connection.
func (s *secured) serial(url string) *big.Int {
	s.t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber
}

// unseen checks that no token shows in a log or in what the verbs printed.
func (s *secured) unseen() {
	s.t.Helper()
	texts := map[string]string{"the verbs": s.printed.String()}
	logs, err := filepath.Glob(s.path("*.log"))
	if err != nil || len(logs) == 0 {
		s.t.Fatalf("%d logs, %v", len(logs), err)
	}
	for _, path := range logs {
		texts[path] = s.log(strings.TrimSuffix(filepath.Base(path), ".log"))
	}
	for where, text := range texts {
		for _, token := range []string{engineToken, peerToken, readerToken, wrongToken} {
			if strings.Contains(text, token) {
				s.t.Errorf("%s shows the token %s", where, token)
			}
		}
	}
}

// Two daemons with TLS and roles serve one root. A worker, the daemons and people each call with a token or certificate of their
// own. Meanwhile the certificates and the access file are replaced. No token ever shows.
func TestSecuredDaemons(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	one, two := s.daemon("one"), s.daemon("two")
	params := fmt.Sprintf(`{"records":1000000,"rate":2000,"users":100,"parallelism":1,"output":%q,"output_name":"clicks"}`, s.path("output"))
	s.write("job.yaml", "execution.checkpointing.interval: 100ms\nexecution.checkpointing.externalized-checkpoint-retention: RETAIN_ON_CANCELLATION\n")
	worker := s.start("worker", []string{"CKPTD_TLS_CA=" + s.ca.File(), "CKPTD_TOKEN=" + engineToken}, "worker", "--job-id", "clicks", "--params", params,
		"--config", s.path("job.yaml"), "--server", one, "--server", two, "--dir", s.dir, "--exchange", "127.0.0.1")

	at := func(url string, args ...string) []string {
		return append(args, "--server", url, "--tls-ca", s.ca.File())
	}
	reader := func(url string, args ...string) []string {
		return append(at(url, args...), "--token-file", s.path("reader"))
	}
	opsCert, opsKey := s.ca.Issue("ops")
	ops := func(url string, args ...string) []string {
		return append(at(url, args...), "--client-cert", opsCert, "--client-key", opsKey)
	}
	for !strings.Contains(s.run(exit.Done, reader(one, "ls")...), "clicks") { // the worker attaches the job
		if !launch.Sleep(s.ctx, pollEvery) {
			t.Fatal("the worker does not attach the job")
		}
	}
	for !strings.Contains(s.run(exit.Done, reader(one, "status", "clicks", "--json")...), `"JOB_PHASE_RUNNING"`) {
		if !launch.Sleep(s.ctx, pollEvery) {
			t.Fatal("the job does not run")
		}
	}
	s.run(exit.Done, ops(two, "trigger", "clicks")...) // by the redirect of the daemon that does not own the job

	t.Run("a worker that asks the other daemon leaves the job with its owner", func(t *testing.T) {
		c, err := client.New([]string{two}, client.WithCA(s.ca.File()), client.WithTokenFile(s.path("engine")))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.AttachJob(s.ctx, client.JobSpec{ID: "clicks"}); err != nil {
			t.Fatal(err)
		}
		if out := s.run(exit.Done, reader(one, "status", "clicks")...); !strings.Contains(out, "(epoch 1,") {
			t.Errorf("the job has changed its owner:\n%s", out)
		}
		if strings.Contains(s.log("two"), "cannot be asked") {
			t.Error("the daemons do not know each other's tokens")
		}
	})
	t.Run("who lacks a role is refused with the reason", func(t *testing.T) {
		for _, c := range []struct {
			want string
			args []string
		}{
			{"prometheus has the role read, and this call wants delete", reader(one, "cancel", "clicks")},
			{"prometheus has the role read, and this call wants run", reader(one, "trigger", "clicks")},
			{"does not know the token", append(at(one, "status"), "--token-file", s.path("wrong"))},
			{"wants a token (--token-file or CKPTD_TOKEN) or a client certificate", at(one, "status")},
			{"by --tls-ca", []string{"status", "--server", one, "--token-file", s.path("reader")}},
		} {
			if out := s.run(exit.Failed, c.args...); !strings.Contains(out, c.want) {
				t.Errorf("%s: want %q:\n%s", strings.Join(c.args, " "), c.want, out)
			}
		}
		for token, want := range map[string]string{readerToken: "200 ", engineToken: "200 ", wrongToken: "401 ", "": "200 ok"} {
			if got := s.get(one, token); !strings.HasPrefix(got, want) {
				t.Errorf("token %q: %.100s, want %s", token, got, want)
			}
		}
		plain := "http" + strings.TrimPrefix(one, "https")
		if out := s.run(exit.Failed, "status", "--server", plain); !strings.Contains(out, "https://") {
			t.Errorf("without TLS: want the address with https:\n%s", out)
		}
	})
	t.Run("a new certificate and a new access file need no restart", func(t *testing.T) {
		before := s.serial(one)
		s.ca.Issue("daemon", "other.example")
		if out := s.run(exit.Failed, reader(one, "status")...); !strings.Contains(out, "as its certificate does") || strings.Contains(out, "--tls-ca") {
			t.Errorf("a certificate for another name: want advice about the name:\n%s", out)
		}
		s.ca.Issue("daemon", "127.0.0.1", "localhost")
		if after := s.serial(one); before.Cmp(after) == 0 {
			t.Error("the daemon shows the certificate that was replaced")
		}
		s.run(exit.Done, reader(one, "status")...)
		s.write("access", fmt.Sprintf("clicks run token:%s\ndaemons read token:%s\nops run,delete certificate\n", engineToken, peerToken))
		s.run(exit.Failed, reader(one, "status")...)
		s.run(exit.Done, ops(one, "status")...)
	})
	s.run(exit.Done, ops(one, "cancel", "clicks")...)
	if err := worker.Wait(); err != nil {
		t.Errorf("the worker ends with %v, want no error", err)
	}
	s.run(exit.Done, ops(two, "cancel", "clicks")...)
	if out := s.run(exit.Done, ops(two, "status", "clicks")...); !strings.Contains(out, "canceled") {
		t.Errorf("the status of a job that has ended:\n%s", out)
	}
	byRoot := []string{"cancel", filepath.Join(s.root, "clicks"), "--tls-ca", s.ca.File(), "--client-cert", opsCert, "--client-key", opsKey}
	s.run(exit.Done, byRoot...) // the daemon that still clears up answers, or the journal does
	s.unseen()
}

// Whom other machines can reach wants TLS and an access file, unless --insecure is given. The wrong combinations are
// refused before the root is touched.
func TestExposedDaemons(t *testing.T) {
	s := newSecured(t)
	secure := []string{"--tls-cert", s.cert, "--tls-key", s.key, "--access", s.path("access")}
	s.write("empty", "# nobody\n")
	s.write("leaky", "clicks run topsecret-topsecret-topsecret\n")
	for _, c := range []struct {
		want string
		args []string
	}{
		{"whoever does may delete checkpoints", []string{"--listen", "0.0.0.0:0"}},
		{"whoever does may delete checkpoints", []string{"--listen", ":0", "--tls-cert", s.cert, "--tls-key", s.key}},
		{"whoever does may delete checkpoints", []string{"--listen", "[::]:0", "--access", s.path("access")}},
		{"belong together", []string{"--tls-cert", s.cert}},
		{"needs TLS", []string{"--tls-client-ca", s.ca.File()}},
		{"--access has to say", []string{"--tls-client-ca", s.ca.File(), "--tls-cert", s.cert, "--tls-key", s.key}},
		{"the rights of a socket's file", append([]string{"--listen", "unix:" + s.path("s")}, secure...)},
		{"rights in octal", []string{"--listen", "unix:" + s.path("s"), "--socket-mode", "rw"}},
		{"nobody may call", []string{"--access", s.path("empty")}},
		{"access file " + s.path("leaky") + ": line 1", []string{"--access", s.path("leaky")}},
		{"TLS with the certificate", []string{"--tls-cert", s.path("access"), "--tls-key", s.key}},
		{"token file " + s.path("none"), []string{"--token-file", s.path("none")}},
	} {
		out := s.run(exit.Usage, append([]string{"serve", "--root", s.root}, c.args...)...)
		if !strings.Contains(out, c.want) || strings.Contains(out, "topsecret") {
			t.Errorf("serve %s: want %q:\n%s", strings.Join(c.args, " "), c.want, out)
		}
		if _, err := os.Stat(s.root); err == nil {
			t.Fatalf("serve %s has made the root", strings.Join(c.args, " "))
		}
	}
	for name, args := range map[string][]string{
		"insecure": {"--listen", "0.0.0.0:0", "--insecure"}, "secure": append([]string{"--listen", "0.0.0.0:0"}, secure...),
	} {
		cmd := s.start(name, nil, append([]string{"serve", "--root", s.root}, args...)...)
		for !listening.MatchString(s.log(name)) {
			if !launch.Sleep(s.ctx, pollEvery) {
				t.Fatalf("the daemon %s does not listen", name)
			}
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the daemon %s: %v", name, err)
		}
	}
	s.unseen()
}

// A socket's file has the rights of --socket-mode, whatever the umask takes away.
func TestSocketMode(t *testing.T) {
	dir := socketDir(t)
	for _, mode := range []socketMode{0o600, 0o660, 0o666} {
		path := filepath.Join(dir, mode.String())
		l, url, err := listen(t.Context(), "unix:"+path, false, mode)
		if err != nil || url != "unix:"+path {
			t.Fatalf("%q, %v", url, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != os.FileMode(mode) {
			t.Errorf("the socket has %v, %v; want %s", info.Mode(), err, mode.String())
		}
		l.Close()
	}
}
