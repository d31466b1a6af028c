package client

import "context"

// Session is the registration of this process with the job's owner.
type Session struct{}

// Nonce is the process's nonce, as registered.
func (s *Session) Nonce() string { panic("not yet") }

// Next waits for the next command. Lost daemons, new owners and pings are handled inside. After Cancel it returns
// ErrJobTerminal, after Replaced ErrReplaced, after Close ErrClosed; an error that is not the context's ends the session.
func (s *Session) Next(ctx context.Context) (Command, error) { panic("not yet") }

// SetAttempt says which attempt the process runs from now on: what a registration after a broken connection tells. Call it
// when you follow a Start, before you report running. 0: none any more.
func (s *Session) SetAttempt(attempt uint64) { panic("not yet") }

// Close ends the session. The daemon takes it for the loss of the process unless the process reported otherwise.
func (s *Session) Close() error { panic("not yet") }
