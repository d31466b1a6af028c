package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/layout/verify"
)

const (
	barPeriod  = 200 * time.Millisecond
	linePeriod = 10 * time.Second
)

// showProgress shows on w how far a run is, until the returned function is called: as a bar on a terminal, else as a
// line every ten seconds.
func showProgress(w io.Writer, verb string, p *verify.Progress) (stop func()) {
	period, show, end := linePeriod, progressLines(w, verb, p), func() {}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		period = barPeriod
		show, end = progressBar(f, verb, p)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(period)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				show()
			case <-done:
				end()
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// progressLines returns a function that prints one line, with the rate since the line before.
func progressLines(w io.Writer, verb string, p *verify.Progress) func() {
	last, bytes := time.Now(), uint64(0)
	return func() {
		now, read := time.Now(), p.Bytes.Load()
		fmt.Fprintln(w, progressLine(verb, p, rateOf(read-bytes, now.Sub(last))))
		last, bytes = now, read
	}
}

// progressLine describes how far a run is.
func progressLine(verb string, p *verify.Progress, rate string) string {
	if p.TotalBytes.Load() == 0 {
		return fmt.Sprintf("%s: %d _metadata and %s looked at", verb, p.Metadata.Load(), output.Count(p.Files.Load(), "file"))
	}
	return fmt.Sprintf("%s: %d of %s, %s of %s, %s", verb, p.Files.Load(), output.Count(p.TotalFiles.Load(), "file"),
		output.Bytes(p.Bytes.Load()), output.Bytes(p.TotalBytes.Load()), rate)
}

// progressBar returns a function that draws the bar anew, and one that removes it. Before the first byte is read there
// is only its text.
func progressBar(w io.Writer, verb string, p *verify.Progress) (show, end func()) {
	// Not -1 for an unknown length: the library would start a goroutine that nothing ends.
	bar := progressbar.NewOptions64(1, progressbar.OptionSetWriter(w), progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true),
		progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish())
	show = func() {
		total := saturate(p.TotalBytes.Load())
		if total == 0 {
			bar.Describe(progressLine(verb, p, ""))
			return
		}
		bar.Describe(verb)
		if bar.GetMax64() != total {
			bar.ChangeMax64(total)
		}
		_ = bar.Set64(min(saturate(p.Bytes.Load()), total)) // a terminal that is gone is no reason to fail
	}
	return show, func() { _ = bar.Clear() }
}

func saturate(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// rateOf is bytes in a time, for people.
func rateOf(bytes uint64, took time.Duration) string {
	if took <= 0 {
		return "-"
	}
	return output.Bytes(uint64(float64(bytes)/took.Seconds())) + "/s"
}
