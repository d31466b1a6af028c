// Package client is the Go SDK of ckptd: what an engine needs to have its checkpoints kept.
//
// It owns the conversation with daemons: which of them to talk to, redirects, retries with request ids, connections of their own
// for data, sums before sending and after receiving. It must not know how a daemon decides anything, how it stores anything,
// nor what an engine does with its state.
//
// # The six calls
//
//	c, err := client.New([]string{"unix:/run/ckptd.sock"})
//	job, err := c.AttachJob(ctx, client.JobSpec{ID: "clicks", Plan: plan, Config: client.DefaultConfig(time.Second)}) // 1
//	session, err := job.Register(ctx, client.Registration{Subtasks: mine})                                   // 2
//	for {
//		cmd, err := session.Next(ctx)
//		switch cmd := cmd.(type) {
//		case client.Start:
//			states, err := job.Assignment(ctx, cmd.Attempt, mine)                                            // 3
//			err = job.Fetch(ctx, states[0].Handles[0], path)                                                 // 4
//			session.SetAttempt(cmd.Attempt)
//			err = job.Report(ctx, client.Report{Kind: client.ReportRunning, Attempt: cmd.Attempt})           // 5
//		case client.Trigger:
//			err := job.Snapshot(ctx, client.Snapshot{Attempt: cmd.Attempt, Epoch: cmd.Epoch, …})             // 6
//		}
//	}
//
// # Calls for people
//
// Client.Admin lists jobs and checkpoints, says how a job is, takes a checkpoint, ends a job: what the command line does. These calls go to the
// job's owner, too, but are not repeated.
//
// # Daemons that come and go
//
// A daemon that dies, restarts, lets a job go, or is not the owner is no error: every call looks for the owner again and is
// repeated, with the request id it had, until it succeeds, is refused, or its context or the client's patience ends. Errors
// that callers should tell apart are the Err values of this package, for errors.Is.
//
// All types with methods are safe for concurrent use, except Session.Next, which is for one goroutine.
package client
