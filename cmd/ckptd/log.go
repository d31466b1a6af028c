package main

import (
	"errors"
	"io"
	"log/slog"

	"github.com/spf13/pflag"
)

// logOptions are the flags of processes that write a log.
type logOptions struct {
	level  slog.Level
	format logFormat
}

func (o *logOptions) flags(f *pflag.FlagSet) {
	o.format = logText
	f.TextVar(&o.level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	f.Var(&o.format, "log-format", "text, or json: an object a line")
}

// open returns a log that leaves out attributes without a value.
func (o *logOptions) open(w io.Writer) *slog.Logger {
	h := &slog.HandlerOptions{Level: o.level, ReplaceAttr: withValue}
	if o.format == logJSON {
		return slog.New(slog.NewJSONHandler(w, h))
	}
	return slog.New(slog.NewTextHandler(w, h))
}

// withValue drops an attribute with an empty string or a nil value, and spells durations alike in both formats.
func withValue(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		if a.Value.String() == "" {
			return slog.Attr{}
		}
	case slog.KindAny:
		if a.Value.Any() == nil {
			return slog.Attr{}
		}
	case slog.KindDuration:
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// logFormat is the flag with the form of the log's lines.
type logFormat string

// The formats.
const (
	logText logFormat = "text"
	logJSON logFormat = "json"
)

var _ pflag.Value = (*logFormat)(nil)

// Set is pflag.Value's.
func (f *logFormat) Set(s string) error {
	switch logFormat(s) {
	case logText, logJSON:
		*f = logFormat(s)
		return nil
	}
	return errors.New("want text or json")
}

// String is pflag.Value's.
func (f *logFormat) String() string { return string(*f) }

// Type is pflag.Value's.
func (*logFormat) Type() string { return "format" }
