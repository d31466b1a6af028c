package hdfs_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/hdfs"
)

const (
	racers = 16
	// raceURL, in the environment, makes this program a racer instead of a test.
	raceURL = "CKPTD_TEST_HDFS_RACE"
)

// TestRace lets 16 processes publish the same keys at once. Each key has one winner, who knows it, and whose content is whole.
func TestRace(t *testing.T) {
	rounds := 50
	switch {
	case os.Getenv("CKPTD_NIGHTLY") == "1":
		rounds = 1000
	case !full():
		t.Skip("`make test` runs it")
	}
	url := cluster(t).URL("race", "")
	opened := open(t, url)
	defer opened.Close()
	var in []io.Writer
	var out []*bufio.Scanner
	for i := range racers {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), raceURL+"="+url, fmt.Sprintf("CKPTD_TEST_RACER=%d", i))
		cmd.Stderr = os.Stderr
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			stdin.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("racer %d: %v", i, err)
			}
		}()
		in, out = append(in, stdin), append(out, bufio.NewScanner(stdout))
	}
	for round := range rounds {
		for _, w := range in {
			fmt.Fprintln(w, round)
		}
		var winners []int
		for i, r := range out {
			if !r.Scan() {
				t.Fatalf("round %d: racer %d has ended, want an answer", round, i)
			}
			switch r.Text() {
			case "won":
				winners = append(winners, i)
			case "lost":
			default:
				t.Errorf("round %d: racer %d: %s; want won or lost", round, i, r.Text())
			}
		}
		if len(winners) != 1 {
			t.Fatalf("round %d: winners %v, want one", round, winners)
		}
		if got, err := readAll(t.Context(), opened.Store, raceKey(round)); err != nil || string(got) != raceContent(round, winners[0]) {
			t.Errorf("round %d: read %d bytes, %v; want the content of the winner", round, len(got), err)
		}
	}
}

func raceKey(round int) string { return fmt.Sprintf("job/_journal/%020d", round+1) }

func raceContent(round, racer int) string {
	return strings.Repeat(fmt.Sprintf("entry of racer %d in round %d\n", racer, round), 100+racer)
}

// raceMain runs a racer's process; it returns false if this process is none.
func raceMain() bool {
	url := os.Getenv(raceURL)
	if url == "" {
		return false
	}
	if err := race(context.Background(), url); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func race(ctx context.Context, url string) error {
	c, err := hdfs.Parse(url)
	if err != nil {
		return err
	}
	opened, err := hdfs.Open(ctx, c)
	if err != nil {
		return err
	}
	defer opened.Close()
	var number int
	if _, err := fmt.Sscan(os.Getenv("CKPTD_TEST_RACER"), &number); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var round int
		if _, err := fmt.Sscan(in.Text(), &round); err != nil {
			return err
		}
		switch err := opened.Store.Publish(ctx, raceKey(round), []byte(raceContent(round, number))); {
		case err == nil:
			fmt.Println("won")
		case errors.Is(err, storage.ErrExists):
			fmt.Println("lost")
		default:
			fmt.Println("error", err)
		}
	}
	return nil
}

func readAll(ctx context.Context, s storage.Store, key string) ([]byte, error) {
	r, err := s.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}
