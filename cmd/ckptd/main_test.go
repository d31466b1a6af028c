package main

import (
	"context"
	"flag"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/conformance/servers"
)

const (
	// actVariable makes the test binary act as ckptd. So the children of a test run the tested code, with the race
	// detector if it is on.
	actVariable = "CKPTD_TEST_ACT"
	// killVariable is STEP:N:FILE. The process that reaches the step for the N-th time and creates FILE kills itself
	// there.
	killVariable = "CKPTD_TEST_KILL"
	// holdVariable is the same, but the process waits there until FILE.go exists.
	holdVariable = "CKPTD_TEST_HOLD"
)

func TestMain(m *testing.M) {
	if os.Getenv(actVariable) == "" {
		os.Setenv(actVariable, "1")
		for name, value := range servers.CredentialsEnv() { // here, so that tests with servers may be parallel ones
			os.Setenv(name, value)
		}
		if err := flag.Set("test.parallel", "4"); err != nil { // they wait most of the time; -parallel says otherwise
			panic(err)
		}
		goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
			os.RemoveAll(builtIn) // "" if nothing was
			os.Exit(code)
		}))
		return
	}
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if len(os.Args) > 1 && os.Args[1] == holdStreams {
		os.Exit(holdAll(ctx, os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == noteTaker {
		os.Exit(takeNotes(ctx, os.Args[2:]))
	}
	kill, hold := atStep(os.Getenv(killVariable), killSelf), atStep(os.Getenv(holdVariable), awaitGo)
	os.Exit(runSteps(ctx, os.Args[1:], os.Stdout, os.Stderr, func(step string) { kill(step); hold(step) }))
}

// atStep returns a function to be called at each named step. It acts at the step that spec names, STEP:N:FILE. With an
// empty spec it never acts.
func atStep(spec string, act func(file string)) func(step string) {
	step, rest, ok := strings.Cut(spec, ":")
	number, file, _ := strings.Cut(rest, ":")
	n, err := strconv.Atoi(number)
	if !ok || err != nil {
		return func(string) {}
	}
	var reached atomic.Int64
	return func(at string) {
		if at != step || reached.Add(1) < int64(n) {
			return
		}
		f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return // another process, or an earlier life of this one, has acted
		}
		f.Close()
		act(file)
	}
}

func killSelf(string) {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func awaitGo(file string) {
	for _, err := os.Stat(file + ".go"); err != nil; _, err = os.Stat(file + ".go") {
		time.Sleep(time.Millisecond)
	}
}
