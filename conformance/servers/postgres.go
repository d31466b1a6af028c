package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Postgres is a PostgreSQL server with a data folder of its own. Its superuser is "ckptd", who needs no password.
type Postgres struct {
	// Address is host:port.
	Address string

	dir      string
	programs string
	owner    *syscall.Credential // the user who runs the server; nil is the user of this process
	settings []string
	process  *process
}

var errNoPostgres = errors.New("PostgreSQL is missing (Debian: apt-get install postgresql)")

// StartPostgres starts a server that ends with the test. A setting is "max_prepared_transactions=64". Without
// PostgreSQL it skips the test loudly; in CI it ends the test.
func StartPostgres(t testing.TB, settings ...string) *Postgres {
	t.Helper()
	p := KeepPostgres(t, settings...)
	t.Cleanup(p.Close)
	return p
}

// KeepPostgres starts a server for several tests. The caller closes it.
func KeepPostgres(t testing.TB, settings ...string) *Postgres {
	t.Helper()
	p, err := newPostgres(settings...)
	if errors.Is(err, errNoPostgres) && !InCI() {
		t.Skipf("NOT RUN: %s needs PostgreSQL: %v", t.Name(), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newPostgres(settings ...string) (*Postgres, error) {
	programs, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	p := &Postgres{programs: programs, settings: settings}
	if err := p.make(); err != nil {
		p.Close()
		return nil, fmt.Errorf("make a PostgreSQL server: %w", err)
	}
	for range 3 { // another process may take the port first
		var ports []string
		if ports, err = freePorts(1); err != nil {
			break
		}
		p.Address = ports[0]
		if err = p.Start(); err == nil {
			return p, nil
		}
	}
	p.Close()
	return nil, err
}

// postgresPrograms returns the folder with the server's programs: the newest of Debian's, or the one in PATH.
func postgresPrograms() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		newest := slices.MaxFunc(found, func(a, b string) int { return postgresVersion(a) - postgresVersion(b) })
		return filepath.Dir(newest), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", errNoPostgres
	}
	return filepath.Dir(path), nil
}

func postgresVersion(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// make makes the data folder. PostgreSQL refuses to run as root, so root makes it for another user, who must be able to
// reach it: a test's own folder is closed to others.
func (p *Postgres) make() (err error) {
	if p.dir, err = os.MkdirTemp("", "ckptd-postgres-"); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		if p.owner, err = postgresOwner(); err != nil {
			return err
		}
		if err := os.Chown(p.dir, int(p.owner.Uid), int(p.owner.Gid)); err != nil {
			return err
		}
	}
	cmd := exec.Command(filepath.Join(p.programs, "initdb"), "-D", filepath.Join(p.dir, "data"), "-U", "ckptd", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8",
		"--no-sync", "--no-instructions")
	cmd.Dir, cmd.SysProcAttr = p.dir, p.attributes()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

// postgresOwner returns the user of Debian's package, or nobody.
func postgresOwner() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err1, err2)
}

// attributes let the server shut down when this process ends, which frees its shared memory.
func (p *Postgres) attributes() *syscall.SysProcAttr {
	a := tiedBy(syscall.SIGQUIT)
	a.Credential = p.owner
	return a
}

// Start starts the server, again on the same address and data after Stop or Crash; more settings hold until the next
// start.
func (p *Postgres) Start(more ...string) error {
	host, port := split(p.Address)
	args := []string{"-D", filepath.Join(p.dir, "data"), "-k", p.dir, "-h", host, "-p", port}
	for _, s := range slices.Concat([]string{"shared_buffers=64MB", "max_prepared_transactions=64"}, p.settings, more) {
		args = append(args, "-c", s)
	}
	cmd := exec.Command(filepath.Join(p.programs, "postgres"), args...)
	cmd.Dir, cmd.SysProcAttr = p.dir, p.attributes()
	var err error
	if p.process, err = startCommand(cmd); err != nil {
		return err
	}
	var last error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !p.process.running() {
			return fmt.Errorf("postgres ended: %s", p.process.log)
		}
		if last = p.ask("SELECT 1"); last == nil {
			return nil
		}
	}
	p.Crash()
	return fmt.Errorf("postgres is not ready after 30 s: %w: %s", last, p.process.log)
}

// DSN names a database as a user, for libpq. more is added: "password=x".
func (p *Postgres) DSN(user, database, more string) string {
	host, port := split(p.Address)
	return strings.TrimSpace(fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=disable %s", host, port, user, database, more))
}

// Do runs statements as the superuser in the database postgres.
func (p *Postgres) Do(t testing.TB, sql string) {
	t.Helper()
	if err := p.ask(sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (p *Postgres) ask(sql string) error {
	cmd := exec.Command(filepath.Join(p.programs, "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql, p.DSN("ckptd", "postgres", ""))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("psql: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// RequirePasswords lets every user but the superuser log in by password only, from the next connection on.
func (p *Postgres) RequirePasswords() error {
	rules := "host all ckptd 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(p.dir, "data", "pg_hba.conf"), []byte(rules), 0o666); err != nil {
		return err
	}
	return p.ask("SELECT pg_reload_conf()")
}

// Crash ends the server at once, without a checkpoint: its next start recovers from the log.
func (p *Postgres) Crash() { p.end(syscall.SIGQUIT) }

// Stop ends the server in peace. The next start may have fewer of the settings that its log needs.
func (p *Postgres) Stop() { p.end(syscall.SIGINT) }

func (p *Postgres) end(signal syscall.Signal) {
	if p.process.running() {
		_ = p.process.cmd.Process.Signal(signal)
		<-p.process.done
	}
}

// Close ends the server and removes its data.
func (p *Postgres) Close() {
	p.Crash()
	if p.dir != "" {
		os.RemoveAll(p.dir)
	}
}
