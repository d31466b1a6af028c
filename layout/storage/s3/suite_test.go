package s3_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/conformance/stores"
	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/s3"
)

func TestMain(m *testing.M) {
	if raceMain() || workMain() {
		return
	}
	for name, value := range servers.CredentialsEnv() { // a parallel test cannot
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	if err := flag.Set("test.parallel", "8"); err != nil { // the tests mostly wait; -parallel overrides this
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// TestStore runs the suite on each server, over http and https.
func TestStore(t *testing.T) {
	for _, kind := range kinds(t) {
		for _, withTLS := range []bool{false, true} {
			t.Run(kind+scheme(withTLS), func(t *testing.T) { // alone: the suite counts goroutines
				server := servers.StartS3(t, kind, withTLS)
				h := stores.Harness{Open: func(t *testing.T, root string) storage.Opened { return open(t, server.URL(root, "")) }}
				if kind == servers.MinIO || !full() {
					h.Races = 5 // MinIO backs off for long when many want one key
				}
				if kind == servers.Versitygw && !withTLS {
					h.Faulty = faulty(server)
				}
				stores.Run(t, h)
			})
		}
	}
}

// kinds are the servers to test with. MinIO is slow, so the quick run leaves it out.
func kinds(t *testing.T) []string {
	if !full() {
		t.Log("not run: MinIO; `make test` does")
		return []string{servers.Versitygw}
	}
	return []string{servers.Versitygw, servers.MinIO}
}

// full reports whether slow tests must run, too.
func full() bool {
	return os.Getenv("CKPTD_TEST_FULL") == "1" || os.Getenv("CKPTD_NIGHTLY") == "1" || servers.InCI()
}

func scheme(withTLS bool) string {
	if withTLS {
		return "/https"
	}
	return "/http"
}

func open(t testing.TB, url string) storage.Opened {
	t.Helper()
	c, err := s3.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := s3.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}
