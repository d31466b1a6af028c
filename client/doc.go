// Package client is the Go SDK of ckptd. An engine uses it to store and restore its checkpoints.
//
// It owns the conversation with daemons: the choice of the daemon, redirects, retries with request ids, separate
// connections for data, and checksums before sending and after receiving. It must not know how a daemon decides or
// stores anything, nor how an engine uses its state.
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
//			err = job.Report(ctx, client.Report{Kind: client.ReportRunning, Attempt: cmd.Attempt})           // 5
//		case client.Trigger:
//			err := job.Snapshot(ctx, client.Snapshot{Attempt: cmd.Attempt, Epoch: cmd.Epoch, …})             // 6
//		}
//	}
//
// Package engine, below this one, has a loop above these calls: it is where most engines begin.
//
// # Calls for people
//
// Client.Admin has the calls of the command line: list jobs and checkpoints, show the state of a job, take a
// checkpoint, end a job. These calls go to the job's owner, too, but are not repeated.
//
// # Daemons with TLS and roles
//
// WithCA, WithTokenFile and WithCertificate are for daemons that want to know their callers. A worker needs the role run.
// A call that a daemon refuses for want of a role fails with ErrDenied and is not repeated.
//
// # Daemons that come and go
//
// A call does not fail because a daemon dies, restarts, releases the job or is not the owner. The client looks for the
// owner again and repeats the call with the same request id. It stops when the call succeeds or is refused, or when the
// context or the client's patience ends. Errors that callers should tell apart are the Err values of this package, for
// errors.Is.
//
// All types with methods are safe for concurrent use, except Session.Next, which is for one goroutine.
package client
