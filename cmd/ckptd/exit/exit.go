// Package exit holds the exit codes of ckptd, and errors that choose one.
//
// It owns the codes, their explanation for people, and the mark of wrong usage. It must not know which error of another
// package gets which code: package main has that table.
package exit

import "fmt"

// The exit codes; Help explains them to people.
const (
	Done        = 0
	Failed      = 1
	Usage       = 2
	Part        = 3
	Damage      = 4
	Interrupted = 130
)

// Help is for the help of the program.
const Help = `Exit codes:
  0    done
  1    failed
  2    wrong usage: an unknown verb, flag or argument
  3    done in part
  4    found damage or a wrong result, or refused for safety
  130  interrupted`

// Error is an error that chooses its exit code.
type Error struct {
	Code int
	Err  error
}

// With gives an error its exit code.
func With(code int, err error) error { return &Error{Code: code, Err: err} }

// Usagef makes an error of wrong usage: the caller could have seen it before the command began to work.
func Usagef(format string, args ...any) error { return With(Usage, fmt.Errorf(format, args...)) }

// Error is the text of Err.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives Err.
func (e *Error) Unwrap() error { return e.Err }
