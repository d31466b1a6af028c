package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/jobfile"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/runtime/backend"
	"github.com/ckptd/ckptd/service/config"
)

// jobFileParams are the parameters of a worker whose job is a file.
type jobFileParams struct {
	// Folder is what relative paths in the file are below; empty: the file's own folder.
	Folder string `json:"folder,omitempty"`
	// Name is the file's name for people, if the file is a copy.
	Name string `json:"name,omitempty"`
}

// paramsOfFile is the parameters of a worker as its flag.
func paramsOfFile(folder, name string) (string, error) {
	p, err := json.Marshal(jobFileParams{Folder: folder, Name: name})
	return string(p), err
}

// backendFlag adds --backend.
func backendFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "backend", "", "state backend: "+strings.Join(backend.Names(), " or ")+" (default: state.backend.type, or else "+backend.Default+")")
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("backend", cobra.FixedCompletions(backend.Names(), cobra.ShellCompDirectiveNoFileComp)))
}

// useBackend has a flag win over the key.
func useBackend(cfg *config.File, name string) error {
	if name != "" && !slices.Contains(backend.Names(), name) {
		return fmt.Errorf("--backend %s: want %s", output.Argument(name), strings.Join(backend.Names(), " or "))
	}
	cfg.Engine.Backend = cmp.Or(name, cfg.Engine.Backend)
	return nil
}

// isJobFile tells whether a name is that of a file with a job.
func isJobFile(name string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name))
}

// readJobFile reads a job.
func readJobFile(path string, p jobFileParams) (*jobfile.File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	folder := cmp.Or(p.Folder, filepath.Dir(path))
	if folder, err = filepath.Abs(folder); err != nil {
		return nil, err
	}
	return jobfile.Parse(cmp.Or(p.Name, path), folder, data)
}
