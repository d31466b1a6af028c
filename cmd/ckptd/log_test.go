package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/spf13/pflag"
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
