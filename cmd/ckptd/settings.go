package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/config"
)

// A flag that the command line does not give takes its value from the environment, else from the file of --config, else
// its default. This file alone decides that.

const (
	// variablePrefix begins the name of each environment variable: --tls-cert is CKPTD_TLS_CERT.
	variablePrefix = "CKPTD_"
	// jobsKey is the section of the daemon's file with Flink's keys.
	jobsKey = "jobs"

	// These annotations of a flag hold its environment variable, if that is not the usual one, and where its value came
	// from.
	variableAnnotation = "ckptd_variable"
	sourceAnnotation   = "ckptd_source"
	// noSettings marks commands whose flags come from the command line alone.
	noSettings = "ckptd_no_settings"
)

// variableOf is the name of a flag's environment variable; empty: it has none.
func variableOf(f *pflag.Flag) string {
	if v := f.Annotations[variableAnnotation]; len(v) > 0 {
		return v[0]
	}
	if f.Name == "help" || f.Name == "version" {
		return ""
	}
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
}

// commandLineOnly keeps flags out of the environment: they say what one call does.
func commandLineOnly(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		cobra.CheckErr(f.SetAnnotation(name, variableAnnotation, []string{""}))
	}
}

// sourceOf says where a flag's value came from.
func sourceOf(f *pflag.Flag) string {
	switch v := f.Annotations[sourceAnnotation]; {
	case len(v) > 0:
		return v[0]
	case f.Changed:
		return "flag --" + f.Name
	}
	return "default"
}

// fromEnvironment fills the flags that the command line does not give from the environment. An empty variable counts
// as none.
func fromEnvironment(cmd *cobra.Command) error {
	if cmd.Annotations[noSettings] != "" {
		return nil
	}
	var bad []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		name := variableOf(f)
		value := os.Getenv(name)
		if f.Changed || name == "" || value == "" {
			return
		}
		values := []string{value}
		if _, many := f.Value.(pflag.SliceValue); many {
			values = strings.Split(value, ",")
		}
		if err := give(cmd, f, "environment "+name, values); err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", name, err))
		}
	})
	return errors.Join(bad...)
}

// give sets a flag's value and records the source.
func give(cmd *cobra.Command, f *pflag.Flag, source string, values []string) error {
	for _, v := range values {
		if err := cmd.Flags().Set(f.Name, v); err != nil {
			return err
		}
	}
	return cmd.Flags().SetAnnotation(f.Name, sourceAnnotation, []string{source})
}

// fromFile fills the flags that neither the command line nor the environment gives from the daemon's file. It returns
// the defaults for jobs; nil: the file has none.
func fromFile(cmd *cobra.Command, path string) (*ckptdv1.JobConfig, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: line %d: keys and values are expected, like listen: %s", path, root.Line, defaultListen)
	}
	var jobs *ckptdv1.JobConfig
	var bad []error
	seen := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		switch first, twice := seen[key.Value]; {
		case twice:
			err = fmt.Errorf("it is given already in line %d", first)
		case key.Value == jobsKey:
			jobs, err = jobDefaults(value)
		default:
			err = settingOf(cmd, path, key.Value, value)
		}
		if seen[key.Value] = key.Line; err != nil {
			bad = append(bad, fmt.Errorf("%s: line %d: %s: %w", path, key.Line, key.Value, err))
		}
	}
	return jobs, errors.Join(bad...)
}

// settingOf gives a flag the value of a key.
func settingOf(cmd *cobra.Command, path, key string, value *yaml.Node) error {
	f := cmd.Flags().Lookup(key)
	if f == nil || variableOf(f) == "" || key == "config" || key == "json" {
		return unknownSetting(cmd, key)
	}
	var values []string
	_, many := f.Value.(pflag.SliceValue)
	switch {
	case value.Kind == yaml.ScalarNode && value.Tag != "!!null":
		values = []string{value.Value}
	case value.Kind == yaml.SequenceNode && many:
		for _, v := range value.Content {
			if v.Kind != yaml.ScalarNode {
				return errors.New("a list of words is expected")
			}
			values = append(values, v.Value)
		}
	case many:
		return errors.New("a word or a list of words is expected")
	default:
		return errors.New("a single value is expected")
	}
	if f.Changed {
		return nil
	}
	return give(cmd, f, "file "+path, values)
}

// jobDefaults reads Flink's keys.
func jobDefaults(node *yaml.Node) (*ckptdv1.JobConfig, error) {
	if node.Tag == "!!null" {
		return nil, nil
	}
	text, err := yaml.Marshal(node)
	if err != nil {
		return nil, err
	}
	f, err := config.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("lines are counted from here: %w", err)
	}
	if f.Dir != "" {
		return nil, errors.New("the place of the checkpoints is not a default of jobs: say root: URL at the beginning of a line")
	}
	if f.Recovery.Path != "" {
		return nil, errors.New("the checkpoint that a job begins from is not a default of jobs: give it where the job is started, as `ckptd worker -s`")
	}
	if _, err := config.Effective(f.Job); err != nil {
		return nil, err
	}
	return f.Job, nil
}

// unknownSetting says that a key is unknown, and suggests the nearest one.
func unknownSetting(cmd *cobra.Command, key string) error {
	all := []string{jobsKey}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if variableOf(f) != "" && f.Name != "config" && f.Name != "json" {
			all = append(all, f.Name)
		}
	})
	nearest := slices.MinFunc(all, func(a, b string) int {
		return cmp.Compare(levenshtein.ComputeDistance(key, a), levenshtein.ComputeDistance(key, b))
	})
	if levenshtein.ComputeDistance(key, nearest) <= len(key)/3+1 {
		return fmt.Errorf("there is no such setting: did you mean %s?", nearest)
	}
	return fmt.Errorf("there is no such setting: the settings are the flags of serve, and Flink's keys below the key %s", jobsKey)
}

// forgetSettings removes the settings of other commands from the environment, so that child processes do not see them.
func forgetSettings(root *cobra.Command) error {
	var errs []error
	for _, c := range root.Commands() {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if name := variableOf(f); name != "" {
				errs = append(errs, os.Unsetenv(name))
			}
		})
	}
	return errors.Join(append(errs, os.Unsetenv(tokenVariable))...)
}

// usageOf makes an error of settings an error of usage.
func usageOf(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return exit.Usagef("%s: %w", cmd.Name(), err)
}
