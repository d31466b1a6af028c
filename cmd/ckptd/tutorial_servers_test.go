package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/ckptd/ckptd/conformance/servers"
)

// The job of every tutorial is exact with a real broker. The broker is killed with SIGKILL, and PostgreSQL crashes. A worker and
// the daemon are killed meanwhile.
func TestTutorialIsExactWhenServersCrash(t *testing.T) {
	seeds := uint64(1)
	switch {
	case os.Getenv("CKPTD_NIGHTLY") != "":
		seeds = 10
	case os.Getenv("CKPTD_TEST_FULL") == "":
		t.Skip("not run: CKPTD_TEST_FULL=1 (make test)")
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			// A broker that is started again waits until its session of before is over.
			kafka := servers.StartKafka(t, map[string]string{"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"})
			postgres := servers.StartPostgres(t)
			j := newTutorial(t, seed, kafka.Address, tableOfCounts(t, postgres, "crashes"))
			j.file("delay: 10ms", "delay: 300ms") // it restarts all the time that a server is away
			cmd, out := j.run()
			strikes := []func() error{
				func() error {
					kafka.Kill()
					j.strike("--slot", out)
					return kafka.Start()
				},
				func() error {
					postgres.Crash()
					j.strike("serve", out)
					return postgres.Start()
				},
			}
			for range 2 {
				for _, i := range j.r.Perm(len(strikes)) {
					j.send(200)
					j.awaitRows(j.r.IntN(j.rows+1), out)
					j.send(200)
					if err := strikes[i](); err != nil {
						t.Fatal(err)
					}
				}
			}
			j.send(100)
			j.awaitRows(j.rows, out)
			j.stop(cmd, out)
			j.exact()
			j.groupKnows()
		})
	}
}
