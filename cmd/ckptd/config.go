package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/config"
)

func newConfigCmd() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the settings that serve would have, and where each came from",
		Long: `Print the settings that serve would have with the same flags, environment and file, and where each value came from: a flag, the
environment, the file of --config, or the default. Below them are the defaults for new jobs, in Flink's keys. No token is printed.`,
		Example: `  ckptd config
  ckptd config --config /etc/ckptd/ckptd.yaml
  CKPTD_LISTEN=127.0.0.1:7421 ckptd config --json`,
		Args:    cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return usageOf(cmd, o.settle(cmd)) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := effectiveOf(cmd, &o)
			if err != nil {
				return err
			}
			if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(e)
			}
			return e.print(cmd.OutOrStdout())
		},
	}
	o.flags(cmd)
	cmd.Flags().Bool("json", false, "print them as JSON (docs/json.md)")
	return cmd
}

// effective is what config prints as JSON.
type effective struct {
	Settings []setting `json:"settings"`
	// Jobs are the values that a new job has for the keys that it leaves out.
	Jobs []setting `json:"jobs"`
}

type setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  string `json:"from"`
}

func effectiveOf(cmd *cobra.Command, o *serveOptions) (e effective, err error) {
	if o.root != "" {
		if o.root, err = drivers.Normal(o.root); err != nil {
			return e, err
		}
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if variableOf(f) == "" || f.Name == "json" {
			return
		}
		value := f.Value.String()
		if many, ok := f.Value.(pflag.SliceValue); ok {
			value = strings.Join(many.GetSlice(), ",")
		}
		e.Settings = append(e.Settings, setting{f.Name, value, sourceOf(f)})
	})
	token := setting{"token", "", "default"}
	if os.Getenv(tokenVariable) != "" {
		token.Value, token.From = "set, and not shown", "environment "+tokenVariable
	}
	e.Settings = append(e.Settings, token)
	e.Jobs, err = jobSettings(o)
	return e, err
}

// jobSettings lists Flink's keys with the values of a new job that asks for nothing.
func jobSettings(o *serveOptions) (all []setting, err error) {
	defaults, err := keysOf(nil)
	if err != nil {
		return nil, err
	}
	keys, err := keysOf(o.jobs)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(keys.Content); i += 2 {
		s := setting{keys.Content[i].Value, keys.Content[i+1].Value, "file " + o.config}
		strategy := strings.HasPrefix(s.Name, "restart-strategy.") && o.jobs.GetRestartStrategy() == nil // it follows from the interval
		if strategy || valueOf(defaults, s.Name) == s.Value {
			s.From = "default"
		}
		all = append(all, s)
	}
	return all, nil
}

// keysOf gives a configuration in effect as a mapping from Flink's keys.
func keysOf(c *ckptdv1.JobConfig) (*yaml.Node, error) {
	job, err := config.Effective(c)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := config.Show(&text, "", job); err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text.Bytes(), &doc); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return doc.Content[0], nil
}

func valueOf(keys *yaml.Node, name string) string {
	for i := 0; i+1 < len(keys.Content); i += 2 {
		if keys.Content[i].Value == name {
			return keys.Content[i+1].Value
		}
	}
	return ""
}

func (e effective) print(w io.Writer) error {
	t := output.NewTable(w)
	t.Row("SETTING", "VALUE", "FROM")
	for _, s := range e.Settings {
		t.Row(s.Name, orDash(s.Value), s.From)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	t = output.NewTable(w)
	t.Row("DEFAULT FOR JOBS", "VALUE", "FROM")
	for _, s := range e.Jobs {
		t.Row(s.Name, orDash(s.Value), s.From)
	}
	return t.Flush()
}
