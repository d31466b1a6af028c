package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
)

// Both formats write the same attributes. An attribute without a value is left out, and a duration has its unit.
func TestLogFormats(t *testing.T) {
	for format, want := range map[string]string{
		"text": "level=WARN msg=m after=1.5s error=e count=0\n",
		"json": `{"after":"1.5s","count":0,"error":"e","level":"WARN","msg":"m"}`,
	} {
		var o logOptions
		f := pflag.NewFlagSet("", pflag.ContinueOnError)
		o.flags(f)
		if err := f.Parse([]string{"--log-format", format, "--log-level", "warn"}); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		log := o.open(&out)
		log.Info("too low")
		log.Warn("m", "after", 1500*time.Millisecond, "none", "", "nil", error(nil), "error", errors.New("e"), "count", 0)
		got := out.String()
		if format == "json" {
			var line map[string]any
			if err := json.Unmarshal(out.Bytes(), &line); err != nil {
				t.Fatal(err)
			}
			delete(line, slog.TimeKey)
			sorted, _ := json.Marshal(line)
			got = string(sorted)
		} else if _, rest, ok := bytes.Cut(out.Bytes(), []byte(" ")); ok {
			got = string(rest)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", format, got, want)
		}
	}
}

// With --log-format json the error that ends a daemon or a worker is a line in JSON, and nothing else is written.
func TestLastErrorIsJSON(t *testing.T) {
	t.Setenv("CKPTD_LOG_FORMAT", "json")
	for _, args := range []string{
		"serve --root /proc/no/such/folder --listen 127.0.0.1:0", "serve --root /x --streams -1", "serve --root /x --log-level loud",
		"worker --job-id a --server http://127.0.0.1:1 --params {}",
	} {
		var out bytes.Buffer
		code := run(t.Context(), strings.Fields(args), &out, &out)
		var line struct {
			Level, Msg, Error string
			ExitCode          int `json:"exit_code"`
		}
		err := json.Unmarshal(out.Bytes(), &line)
		if err != nil || line.Level != "ERROR" || line.Error == "" || line.ExitCode != code || code == exit.Done {
			t.Errorf("%s: exit code %d, %v\n%s", args, code, err, &out)
		}
	}
}
