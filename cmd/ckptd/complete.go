package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ckptd/ckptd/cmd/ckptd/drivers"
	"github.com/ckptd/ckptd/layout"
)

// completionTime bounds how long a person waits at the tabulator key.
const completionTime = 2 * time.Second

// completeJobs offers jobs, and completeCheckpoints offers checkpoints: those of the daemon that --server or
// CKPTD_SERVER names, or those of the root that the word begins with. Without either they offer how roots begin.
func completeJobs(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return complete(cmd, args, word, false)
}

func completeCheckpoints(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return complete(cmd, args, word, true)
}

func complete(cmd *cobra.Command, args []string, word string, checkpoints bool) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || fromEnvironment(cmd) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	i := strings.LastIndexByte(word, '/')
	parent := word[:i+1]
	var found []string
	if at := daemonsOf(cmd); at.server != "" && !strings.HasPrefix(word, "/") && !strings.HasPrefix(word, ".") && !strings.Contains(word, "://") {
		found = onDaemon(ctx, at, strings.TrimSuffix(parent, "/"))
	} else if i > 0 {
		found = inRoot(ctx, strings.TrimSuffix(parent, "/"))
	}
	jobs := len(found) > 0 && !strings.HasPrefix(found[0], checkpointPrefix)
	if len(found) == 0 || !jobs && !checkpoints {
		return completeRoot(cmd, args, word)
	}
	found = slices.DeleteFunc(found, func(name string) bool { return !strings.HasPrefix(parent+name, word) })
	for i, name := range found {
		if found[i] = parent + name; jobs && checkpoints {
			found[i] += "/"
		}
	}
	if jobs && checkpoints {
		return found, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// checkpointPrefix begins the name of each checkpoint. The id of a job may begin so, too, but then the shell only adds
// a blank too many.
var checkpointPrefix = strings.TrimSuffix(layout.CheckpointDir(1), "1")

// onDaemon lists the jobs of a daemon, or the checkpoints of a job there. Errors are no business of a completion.
func onDaemon(ctx context.Context, at daemons, job string) []string {
	t, err := openServer(at)
	if err != nil {
		return nil
	}
	return namesOf(ctx, t, job)
}

// inRoot lists the jobs of a root, or the checkpoints of a job. at has no slash at its end.
func inRoot(ctx context.Context, at string) []string {
	place, err := drivers.Normal(at)
	if err != nil {
		return nil
	}
	if t, err := openBareRoot(ctx, place); err == nil {
		return namesOf(ctx, t, "")
	}
	root, job := drivers.CutLast(place)
	if layout.ValidateJobID(job) != nil {
		return nil
	}
	t, err := openBareRoot(ctx, root)
	if err != nil {
		return nil
	}
	return namesOf(ctx, t, job)
}

// namesOf lists the jobs of a target, or the checkpoints of one job, and closes the target.
func namesOf(ctx context.Context, t *target, job string) (names []string) {
	var err error
	if job == "" {
		list, e := t.view.Jobs(ctx)
		for _, j := range list.GetJobs() {
			names = append(names, j.GetJobId())
		}
		err = e
	} else {
		list, e := t.view.Checkpoints(ctx, job)
		for _, c := range list.GetCheckpoints() {
			names = append(names, layout.CheckpointDir(c.GetCheckpointId()))
		}
		err = e
	}
	if errors.Join(err, t.close()) != nil {
		return nil
	}
	return names
}
