package gcs_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/conformance/gcsfake"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/gcs"
)

const racers = 16

// raceURLs, in the environment, makes this program a racer for each of these stores, instead of a test.
const raceURLs = "CKPTD_TEST_RACE_URLS"

// TestRace lets 16 processes publish the same keys at once, without retries on one server, with them on the other. Each key has one
// winner. The winner knows that it won, and its content is whole.
func TestRace(t *testing.T) {
	t.Parallel()
	rounds := 50
	if os.Getenv("CKPTD_NIGHTLY") == "1" {
		rounds = 1000
	}
	_, endpoint := strict(t, gcsfake.Bucket{})
	for kind, endpoint := range map[string]string{"fake-gcs-server": servers.StartGCS(t).Endpoint, "strict": endpoint} {
		t.Run(kind, func(t *testing.T) {
			rounds := rounds
			if kind != "strict" {
				rounds /= 5
			}
			settings := []string{map[string]string{"strict": "max_attempts=4"}[kind]}
			if settings[0] == "" {
				settings[0] = "max_attempts=1"
			}
			urls := []string{servers.GCSURL(endpoint, "race", settings[0])}
			var all []*racer
			for i := range racers {
				all = append(all, startRacer(t, urls, i))
			}
			for i, retries := range settings {
				t.Run(retries, func(t *testing.T) { runRace(t, all, urls, i, rounds) })
			}
		})
	}
}

// A racer is another process.
type racer struct {
	in  io.WriteCloser
	out *bufio.Scanner
}

func startRacer(t *testing.T, urls []string, number int) *racer {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), raceURLs+"="+strings.Join(urls, " "), "CKPTD_TEST_RACER="+strconv.Itoa(number))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("racer %d: %v", number, err)
		}
	})
	r := &racer{in, bufio.NewScanner(out)}
	if !r.out.Scan() || r.out.Text() != "ready" {
		t.Fatalf("racer %d says %q, want ready", number, r.out.Text())
	}
	return r
}

func runRace(t *testing.T, all []*racer, urls []string, setting, rounds int) {
	opened := open(t, urls[setting])
	defer opened.Close()
	told := 0
	for round := range rounds {
		for _, r := range all {
			fmt.Fprintln(r.in, setting, round)
		}
		var winners []int
		for i, r := range all {
			if !r.out.Scan() {
				t.Fatalf("round %d: racer %d has ended, want an answer", round, i)
			}
			verdict, first, _ := strings.Cut(r.out.Text(), " ")
			switch verdict {
			case "won":
				winners = append(winners, i)
				if first != "created" {
					told++
				}
			case "lost":
			default:
				t.Errorf("round %d: racer %d: %s; want won or lost", round, i, r.out.Text())
			}
		}
		if len(winners) != 1 {
			t.Fatalf("round %d: winners %v, want one", round, winners)
		}
		content, err := readAll(t.Context(), opened.Store, raceKey(round))
		if err != nil || string(content) != raceContent(round, winners[0]) {
			t.Errorf("round %d: read %d bytes, want the whole content of the winner %d; %v", round, len(content), winners[0], err)
		}
	}
	t.Logf("%d rounds; the winner learned it by reading back in %d", rounds, told)
}

func raceKey(round int) string { return fmt.Sprintf("job/_journal/%020d", round+1) }

func raceContent(round, racer int) string {
	return strings.Repeat(fmt.Sprintf("entry of racer %d in round %d\n", racer, round), 100+racer)
}

func readAll(ctx context.Context, s storage.Store, key string) ([]byte, error) {
	r, err := s.Open(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// raceMain runs a racer's process; it returns false if this process is none.
func raceMain() bool {
	urls := strings.Fields(os.Getenv(raceURLs))
	if len(urls) == 0 {
		return false
	}
	if err := race(context.Background(), urls); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// race publishes as the protocol says: it repeats while the outcome is unknown, and after "exists" it reads the
// object.
func race(ctx context.Context, urls []string) error {
	number, err := strconv.Atoi(os.Getenv("CKPTD_TEST_RACER"))
	if err != nil {
		return err
	}
	var stores []storage.Store
	for _, url := range urls {
		c, err := gcs.Parse(url)
		if err != nil {
			return err
		}
		opened, err := gcs.Open(ctx, c)
		if err != nil {
			return err
		}
		defer opened.Close()
		stores = append(stores, opened.Store)
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var setting, round int
		if _, err := fmt.Sscan(in.Text(), &setting, &round); err != nil {
			return err
		}
		fmt.Println(raceOnce(ctx, stores[setting], round, number))
	}
	return nil
}

func raceOnce(ctx context.Context, s storage.Store, round, number int) string {
	key, content := raceKey(round), raceContent(round, number)
	for tries := 0; tries < 20; tries++ {
		err := s.Publish(ctx, key, []byte(content))
		switch {
		case err == nil:
			return "won created"
		case errors.Is(err, storage.ErrUnknown):
			continue
		case !errors.Is(err, storage.ErrExists):
			return "error " + err.Error()
		}
		there, err := readAll(ctx, s, key)
		switch {
		case err != nil:
			return "error " + err.Error()
		case string(there) == content:
			return "won by-nonce"
		}
		return "lost"
	}
	return "error still unknown"
}
