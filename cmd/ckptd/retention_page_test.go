package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/layout/layouttest"
)

// TestBlocksOfThePages runs the blocks of shell of the pages about checkpoints that are kept, each in a root of its own whose job has
// ended, line by line. Only the daemon and the demo are parsed and not run: other tests run them.
func TestBlocksOfThePages(t *testing.T) {
	for page, least := range map[string]int{"retention.md": 13, "copy.md": 4} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		ran := 0
		for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			ran += runBlock(t, page, block[1])
		}
		if ran < least {
			t.Errorf("%s: %d lines were run, want %d at least", page, ran, least)
		}
	}
}

// runBlock runs the lines of one block, and returns how many it has run.
func runBlock(t *testing.T, page, block string) (ran int) {
	t.Helper()
	v := newVerbs(t)
	v.end(t, layouttest.Running)
	root := filepath.Join(v.dir, "root")
	here := strings.NewReplacer("ROOT/JOB", root+"/clicks", "ROOT", root, "file:///var/lib/ckptd", "file://"+root, "./copies", v.dir+"/copies",
		"shared/FILE", layouttest.SharedFile())
	for line := range strings.Lines(block) {
		line, _, _ = strings.Cut(line, " #")
		args, _ := words(here.Replace(strings.TrimSpace(line)))
		switch {
		case len(args) == 0:
			continue
		case args[0] != "ckptd":
			t.Errorf("%s: %s: want a command of ckptd", page, line)
			continue
		}
		if cmd, rest, err := newRootCmd(nil).Find(args[1:]); err != nil || slices.Contains([]string{"serve", "demo"}, cmd.Name()) {
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err != nil {
				t.Errorf("%s: %s: %v", page, line, err)
			}
			continue
		}
		ckptd(t, exit.Done, args[1:]...)
		ran++
	}
	return ran
}
