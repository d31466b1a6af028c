package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/limit"
	"github.com/ckptd/ckptd/proto/address"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/runtime/launcher"
	"github.com/ckptd/ckptd/service"
)

// defaultListen is the default address: a daemon listens there, and the command line looks for a daemon there.
const defaultListen = "127.0.0.1:7420"

// letGoTime bounds the time for which a daemon that was told to stop releases its jobs.
const letGoTime = 10 * time.Second

// serveOptions are the flags of serve.
type serveOptions struct {
	root, listen string
	advertise    []string
	restoreFrom  allowed
	savepoints   savepointDirs
	streams      int
	jobMetrics   int
	trash        durationFlag
	memoryState  sizeFlag
	scrubEvery   time.Duration
	scrubRate    int
	budgets      limit.Budgets
	log          logOptions
	config       string
	secure       secureOptions
	jobs         *ckptdv1.JobConfig // defaults for jobs, from the file
	credentials  address.CredentialFiles
	steps        func(string) // set by tests; nil in production
}

func newServeCmd(steps func(string)) *cobra.Command {
	o := serveOptions{steps: steps}
	cmd := &cobra.Command{
		Use:   "serve --root URL",
		Short: "Run the daemon that keeps the checkpoints of jobs under a root",
		Long: `Run the daemon that keeps the checkpoints of jobs under a root.

The root is a folder for ckptd alone. An empty folder becomes a root; a folder that holds something else is refused. Several
daemons may serve one root; at any time one of them owns a job. At SIGTERM the daemon releases all jobs, so that another daemon
can take them at once. A daemon that was killed takes its jobs back when it is started again at the same address.

The state of jobs with storage jobmanager lies in the memory of the daemon, within --memory-state, and is lost with it.

Each flag may also stand in the file of --config (listen: 127.0.0.1:7420) or in the environment (CKPTD_LISTEN). A flag wins over the
environment, and the environment over the file. Flink's keys below jobs: in the file are defaults for new jobs. ` + "`ckptd config`" + ` prints
what is in effect.

A daemon that other machines can reach wants TLS and an access file, which gives the roles read, run and delete to tokens and client
certificates. Certificates, keys and the access file are read again when they change. docs/operate.md has the whole.`,
		Example: `  ckptd serve --root file:///var/lib/ckptd
  ckptd serve --root /var/lib/ckptd --listen unix:/run/ckptd.sock --socket-mode 0660
  ckptd serve --config /etc/ckptd/ckptd.yaml
  ckptd serve --root /var/lib/ckptd --listen 0.0.0.0:7420 --advertise https://ckptd-1.example:7420 \
    --tls-cert /etc/ckptd/tls.crt --tls-key /etc/ckptd/tls.key --access /etc/ckptd/access
  curl http://127.0.0.1:7420/readyz
  curl http://127.0.0.1:7420/metrics`,
		Args:    cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return usageOf(cmd, o.settle(cmd)) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd.Context()); err != nil {
				return err
			}
			return serve(cmd.Context(), o)
		},
	}
	o.flags(cmd)
	cobra.CheckErr(cmd.MarkFlagRequired("root"))
	return cmd
}

// flags adds the flags, which the file of --config may hold, too.
func (o *serveOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	rootFlag(cmd, &o.root, "required")
	f.StringVar(&o.config, "config", "", "YAML `file` with values for these flags, and with defaults for jobs")
	f.StringVar(&o.listen, "listen", defaultListen, "HOST:PORT, or unix:PATH of a socket")
	f.StringArrayVar(&o.advertise, "advertise", nil, "URL under which workers and other daemons reach this one, instead of what --listen says (repeatable)")
	f.StringArrayVar((*[]string)(&o.restoreFrom), "restore-from", nil, "URL or path below which new jobs may find checkpoints of other roots to begin from (repeatable)")
	cobra.CheckErr(f.SetAnnotation("restore-from", variableAnnotation, []string{"CKPTD_RESTORE_ROOTS"})) // a worker's says where it begins
	f.StringArrayVar((*[]string)(&o.savepoints), "savepoints", nil, "URL or path below which savepoints may be written, found by new jobs, and disposed of (repeatable); the first is the default")
	o.secure.flags(f)
	credentialFlags(cmd)
	f.IntVar(&o.streams, "streams", 16, "how many files are received at a time; the others wait (each with up to 1 MiB of memory; S3 needs up to 256 MiB more for all)")
	f.IntVar(&o.budgets.Commit, "commits", 32, "how many requests of commits the store gets at a time")
	f.IntVar(&o.budgets.Restore, "reads", 64, "how many requests of restores (fewer while the store throttles)")
	f.IntVar(&o.budgets.Upload, "writes", 64, "how many requests of uploads (fewer while the store throttles)")
	f.IntVar(&o.budgets.Collect, "deletes", 4, "how many requests that delete garbage (1 during a commit, and while the store throttles)")
	f.IntVar(&o.jobMetrics, "metrics-jobs", 0, "how many jobs have series of their own in /metrics, labelled with their id")
	f.Var(&o.trash, "trash", trashUsage)
	o.memoryState = defaultMemoryState
	f.Var(&o.memoryState, "memory-state", "how many bytes the state of all jobs with storage jobmanager may take in the daemon's memory: 64mb, 1gb; it is lost with the daemon; 0: no such jobs")
	f.DurationVar(&o.scrubEvery, "scrub-every", 24*time.Hour, "how often the newest checkpoint of each job is read and compared with its sums; 0: never")
	f.IntVar(&o.scrubRate, "scrub-rate", 20<<20, "how many bytes a second that reads at most; 0: no bound")
	o.log.flags(f)
}

// settle reads the file of --config, after the command line and the environment.
func (o *serveOptions) settle(cmd *cobra.Command) (err error) {
	if o.jobs, err = fromFile(cmd, o.config); err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	o.credentials = credentialsOf(cmd)
	return nil
}

// check refuses invalid flags before the daemon touches the root.
func (o *serveOptions) check(ctx context.Context) error {
	for _, f := range []struct {
		name            string
		value, standard int
	}{
		{"streams", o.streams, 16},
		{"commits", o.budgets.Commit, 32},
		{"reads", o.budgets.Restore, 64},
		{"writes", o.budgets.Upload, 64},
		{"deletes", o.budgets.Collect, 4},
		{"metrics-jobs", o.jobMetrics, 0},
		{"scrub-rate", o.scrubRate, 20 << 20},
		{"scrub-every", int(o.scrubEvery), int(24 * time.Hour)},
	} {
		if f.value < 0 {
			return exit.Usagef("serve: --%s %d: has to be 0 or more; the default is --%s %d", f.name, f.value, f.name, f.standard)
		}
	}
	for i, u := range o.advertise {
		at, err := checkDaemonURL("advertise", u)
		if err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		if u, err := url.Parse(at); err == nil && anyAddress(u.Hostname()) {
			return exit.Usagef("serve: --advertise %s: each machine takes this address for its own; want the name or address of this machine, "+
				"as https://ckptd-1.example:7420", at)
		}
		o.advertise[i] = at
	}
	if o.memoryState.bytes() == 0 && o.jobs.GetStorage() == ckptdv1.Storage_STORAGE_JOBMANAGER {
		return exit.Usagef("serve: --memory-state is 0, so no job can have storage jobmanager, and jobs: in --config makes that the default; " +
			"want a size, or another default")
	}
	if err := allowed(o.savepoints).check("savepoints"); err != nil {
		return err
	}
	if err := o.restoreFrom.check("restore-from"); err != nil {
		return err
	}
	o.restoreFrom = append(o.restoreFrom, o.savepoints...)
	exposed, err := checkListen(ctx, o.listen)
	if err == nil {
		err = o.secure.check(o.listen, exposed)
	}
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// serve runs the daemon until ctx ends or the process that launched it does.
func serve(ctx context.Context, o serveOptions) (err error) {
	ctx, cancel := context.WithCancel(launcher.WithParent(ctx))
	defer cancel()
	go keepSmall(ctx)
	log := o.log.start()
	door, err := o.secure.open(log)
	if err != nil {
		return exit.Usagef("serve: %w", err)
	}
	credentials, err := address.NewCredentials(o.credentials)
	if err != nil {
		return exit.Usagef("serve: %w", err)
	}
	// Before the store is touched: a daemon whose address is taken must not leave a root behind.
	listener, at, err := listen(ctx, o.listen, door.tls != nil, o.secure.socketMode)
	if err != nil {
		return err
	}
	defer listener.Close()
	remove, err := missingFolders(o.root)
	if err != nil {
		return err
	}
	defer func() {
		if errors.Is(err, storage.ErrUnfit) {
			remove() // removes the folders that were created for the refused root
		}
	}()
	opened, err := drivers.Open(ctx, o.root, false)
	if err != nil {
		return whatToDo(o.root, err)
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	if opened.Facts.InProcess {
		runMore()
	}
	if err := hazardous(ctx, opened.Facts, func(h storage.Hazard) {
		log.Warn("a setting of the store", "setting", h.Name, "seen", h.Seen, "advice", h.Advice)
	}); err != nil {
		return fmt.Errorf("serve %s: %w", o.root, err)
	}
	root, err := layout.OpenRoot(ctx, opened.Store)
	if err != nil {
		return fmt.Errorf("serve %s: %w", o.root, whatToDo(o.root, err))
	}
	log.Info("root is fit", "location", opened.Facts.Location, "store", opened.Facts.Kind, "root", root.String(), "notes", strings.Join(opened.Facts.Notes, "; "))
	if p := root.Probe; p != nil && p.Kept != nil {
		log.Warn("the daemon could not find out whether the store deletes objects", "error", p.Kept, "advice", "see what `ckptd doctor` says of deletes")
	}
	urls := o.advertise
	if len(urls) == 0 {
		urls = []string{at}
		if tcp, ok := listener.Addr().(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
			log.Warn("other machines cannot use the address that this daemon tells them", "url", at, "advice", "say --advertise "+door.scheme()+"://HOST:PORT")
		}
	}
	return serveOn(ctx, log, opened, o, service.Options{URLs: urls, Credentials: credentials, Elsewhere: o.restoreFrom.opener(), Savepoints: o.savepoints.places(), Collectors: door.metrics()}, func(h http.Handler) (*http.Server, <-chan error) {
		web := newHTTPServer(door.wrap(h))
		web.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
		failed := make(chan error, 1)
		go func() { failed <- door.serve(web, listener) }()
		log.Info("listening", "url", at, "access", door.String())
		return web, failed
	})
}

// serveOn runs a server until ctx ends, the listener fails, or the server itself cannot go on.
func serveOn(ctx context.Context, log *slog.Logger, opened storage.Opened, o serveOptions, so service.Options,
	open func(http.Handler) (*http.Server, <-chan error)) error {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	so.Version, so.Streams, so.Budgets, so.JobMetrics, so.JobDefaults = version(), o.streams, o.budgets, o.jobMetrics, o.jobs
	so.Log, so.Steps, so.Fatal, so.Trash = log, o.steps, giveUp, o.trash.value()
	so.Memory = o.memoryState.store()
	so.Scrub = service.Scrub{Every: o.scrubEvery, Rate: uint64(o.scrubRate)}
	s, err := service.New(opened, &so)
	if err != nil {
		return err
	}
	defer s.Close()
	web, failed := open(s.Handler())
	defer web.Close()
	if err := s.Start(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	if cause := context.Cause(ctx); errors.Is(cause, storage.ErrAbandoned) {
		return fmt.Errorf("serve: the store is not reliable any more; mend the store and start the daemon again: %w", cause)
	}
	log.Info("stopping: letting all jobs go")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), letGoTime)
	defer cancel()
	return s.Shutdown(ctx)
}

// anyAddress tells whether a host is 0.0.0.0 or ::, which name no machine.
func anyAddress(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsUnspecified()
}
