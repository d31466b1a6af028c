package gcs_test

import (
	"flag"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/conformance/gcsfake"
	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/conformance/stores"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/gcs"
)

func TestMain(m *testing.M) {
	if raceMain() || workMain() {
		return
	}
	for _, name := range []string{"STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"} { // a parallel test cannot
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
	if err := flag.Set("test.parallel", "8"); err != nil { // the tests mostly wait; -parallel overrides this
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// TestStore runs the suite on a server that others have written, and on the strict one, with every fault.
func TestStore(t *testing.T) {
	races := 5
	switch {
	case os.Getenv("CKPTD_NIGHTLY") == "1":
		races = 20
	case full():
		races = 10
	}
	t.Run("fake-gcs-server", func(t *testing.T) { // alone: the suite counts goroutines
		server := servers.StartGCS(t)
		stores.Run(t, stores.Harness{Races: races, Open: func(t *testing.T, root string) storage.Opened {
			server.Make(t, root)
			return open(t, strings.Replace(servers.GCSURL(server.Endpoint, "a prefix", ""), servers.Bucket, root, 1))
		}})
	})
	t.Run("strict", func(t *testing.T) {
		_, endpoint := strict(t, gcsfake.Bucket{})
		stores.Run(t, stores.Harness{
			Races: races,
			Open: func(t *testing.T, root string) storage.Opened {
				return open(t, servers.GCSURL(endpoint, root, ""))
			},
			Faulty: faulty(endpoint),
		})
	})
}

// full reports whether slow tests must run, too.
func full() bool {
	return os.Getenv("CKPTD_TEST_FULL") == "1" || os.Getenv("CKPTD_NIGHTLY") == "1" || servers.InCI()
}

// strict starts the strict server.
func strict(t testing.TB, b gcsfake.Bucket) (*gcsfake.Server, string) {
	t.Helper()
	s := gcsfake.New(servers.Bucket, b)
	listening := httptest.NewServer(s)
	t.Cleanup(listening.Close)
	return s, listening.URL
}

func open(t testing.TB, url string) storage.Opened {
	t.Helper()
	c, err := gcs.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := gcs.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}
