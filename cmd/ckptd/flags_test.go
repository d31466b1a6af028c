package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/proto/address"
)

// A wrong flag is refused before anything is created, and the error gives a valid value.
func TestWrongFlags(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const worker = `worker --job-id j --server http://127.0.0.1:1 --params {"parallelism":1,"output":"/tmp","output_name":"x"} --dir DIR `
	const listenRight = "as 127.0.0.1:7420"
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"serve --root DIR --listen x", listenRight, exit.Usage},
		{"serve --root DIR --listen 127.0.0.1:99999", listenRight, exit.Usage},
		{"serve --root DIR --listen http://127.0.0.1:7420", listenRight, exit.Usage},
		{"serve --root DIR --listen unix:", "as unix:/run/ckptd.sock", exit.Usage},
		{"serve --root DIR --listen unix:/" + strings.Repeat("x", address.MaxSocketPath), "at most 107", exit.Usage},
		{"serve --root DIR --listen unix:/no/such/folder/s", "the folder of the socket", exit.Failed},
		{"serve --root DIR --listen 192.0.2.1:7420", listenRight, exit.Failed}, // an address of nobody
		{"serve --root DIR --streams -1", "--streams 16", exit.Usage},
		{"serve --root DIR --streams many", "invalid argument", exit.Usage},
		{"serve --root DIR --commits -1", "--commits 32", exit.Usage},
		{"serve --root DIR --reads -1", "--reads 64", exit.Usage},
		{"serve --root DIR --writes -1", "--writes 64", exit.Usage},
		{"serve --root DIR --deletes -1", "--deletes 4", exit.Usage},
		{"serve --root DIR --metrics-jobs -1", "--metrics-jobs 0", exit.Usage},
		{"serve --root DIR --log-format xml", "want text or json", exit.Usage},
		{"serve --root DIR --log-level loud", "want debug, info, warn or error", exit.Usage},
		{"serve --root DIR --advertise ftp://host:7420", "as http://127.0.0.1:7420", exit.Usage},
		{"serve --root DIR --advertise http://0.0.0.0:7420", "as https://ckptd-1.example:7420", exit.Usage},
		{"serve --root DIR --advertise https://[::]:7420", "as https://ckptd-1.example:7420", exit.Usage},
		{"serve --root DIR --advertise unix:relative", "unix:/run/ckptd.sock", exit.Usage},
		{"demo --root DIR --rate NaN", "--rate 50000", exit.Usage},
		{"demo --root DIR --rate Inf", "--rate 50000", exit.Usage},
		{"demo --root DIR --rate 0", "--rate 50000", exit.Usage},
		{"demo --root DIR --kills -1", "--kills 2", exit.Usage},
		{"demo --root DIR --parallelism 0", "--parallelism 2", exit.Usage},
		{"demo --root DIR --interval soon", "--interval", exit.Usage},
		{"demo --root DIR --interval 1ms", "the least is 10ms", exit.Usage},
		{"demo --root DIR --config /no/such/file", "no such file", exit.Usage},
		{worker + "--log-format xml", "want text or json", exit.Usage},
		{worker + "--log-level loud", "want debug, info, warn or error", exit.Usage},
		{worker + "--job sums", `only "clicks"`, exit.Usage},
		{worker + "--restore-from a/chk-1 --claim-mode MINE", "NO_CLAIM", exit.Usage},
		{worker + "--slot 2 --of 2", "--slot 1 --of 2", exit.Usage},
		{worker + "--slot -1", "--slot 0 --of 2", exit.Usage},
		{worker + "--of 0", "--slot 0 --of 2", exit.Usage},
		{worker + "--job-id _x", "clicks-1", exit.Usage},
		{worker + "--server ftp://127.0.0.1:1", "as http://127.0.0.1:7420", exit.Usage},
		{worker + "--exchange 127.0.0.1:80", "as 127.0.0.1", exit.Usage},
		{worker + "--exchange unix:", "unix:/run/ckptd", exit.Usage},
		{worker + "--config /no/such/file", "no such file", exit.Usage},
		{worker + `--params {"parallelism":0}`, "parallelism 0", exit.Usage},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // of a daemon that does start
		var out bytes.Buffer
		code := run(ctx, strings.Fields(strings.ReplaceAll(c.args, "DIR", dir)), &out, &out)
		if cancel(); code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: exit code %d, want %d and %q\n%s", c.args, code, c.code, c.want, &out)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Fatalf("%s: left %v, %v", c.args, left, err)
		}
	}
}

// A shell that completes a root is offered how the URLs of each driver begin.
func TestRootsAreCompleted(t *testing.T) {
	for _, args := range []string{"ls", "doctor", "serve --root", "demo --root"} {
		var out bytes.Buffer
		run(t.Context(), append(strings.Fields("__complete "+args), ""), &out, &out)
		for _, d := range drivers.All() {
			if begin := d.Kind() + "://"; !strings.Contains(out.String(), begin) {
				t.Errorf("completion of %s does not offer %s:\n%s", args, begin, &out)
			}
		}
	}
}

// The help of every verb that takes a root to write to names each kind of store.
func TestHelpNamesStores(t *testing.T) {
	for _, args := range []string{"--help", "serve --help", "demo --help", "doctor --help"} {
		var out bytes.Buffer
		run(t.Context(), strings.Fields(args), &out, &out)
		for _, d := range drivers.All() {
			scheme, _, _ := strings.Cut(d.Form, "://")
			if text := out.String(); !strings.Contains(text, scheme+"://") {
				t.Errorf("ckptd %s does not name %s, want an example or the form:\n%s", args, d.Kind(), text)
			}
		}
	}
}
