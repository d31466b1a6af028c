package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
)

// logOptions are the flags of processes that write a log.
type logOptions struct {
	level  logLevel
	format logFormat
}

func (o *logOptions) flags(f *pflag.FlagSet) {
	o.format = logText
	o.level = logLevel(slog.LevelInfo)
	f.Var(&o.level, "log-level", "debug, info, warn or error")
	f.Var(&o.format, "log-format", "text, or json: an object a line")
}

// open returns a log that leaves out attributes without a value.
func (o *logOptions) open(w io.Writer) *slog.Logger {
	h := &slog.HandlerOptions{Level: slog.Level(o.level), ReplaceAttr: withValue}
	if o.format == logJSON {
		return slog.New(slog.NewJSONHandler(w, h))
	}
	return slog.New(slog.NewTextHandler(w, h))
}

// start returns the log of this process, on its standard error. Libraries that write lines of their own write to this
// log, too.
func (o *logOptions) start() *slog.Logger {
	log := o.open(os.Stderr)
	slog.SetDefault(log)
	return log
}

// logsJSON tells whether a command writes its log in JSON. An error on the command line comes before the environment is
// read.
func logsJSON(cmd *cobra.Command) bool {
	f := cmd.Flags().Lookup("log-format")
	return f != nil && (f.Value.String() == string(logJSON) || !f.Changed && os.Getenv(variableOf(f)) == string(logJSON))
}

// logEnd writes the error that ends a command as a line of its log in JSON.
func logEnd(w io.Writer, cmd *cobra.Command, text string, code int) {
	o, advice := logOptions{format: logJSON}, ""
	if code == exit.Usage {
		advice = "see `" + cmd.CommandPath() + " --help`"
	}
	o.open(w).Error("ended with an error", "error", text, "exit_code", code, "advice", advice)
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

// logLevel is the flag with the least level of the log's lines.
type logLevel slog.Level

var _ pflag.Value = (*logLevel)(nil)

// Set is pflag.Value's. It also takes a distance to a level, as "info+2".
func (l *logLevel) Set(s string) error {
	if (*slog.Level)(l).UnmarshalText([]byte(s)) != nil {
		return errors.New("want debug, info, warn or error")
	}
	return nil
}

// String is pflag.Value's, in the spelling of the help.
func (l *logLevel) String() string { return strings.ToLower(slog.Level(*l).String()) }

// Type is pflag.Value's.
func (*logLevel) Type() string { return "level" }
