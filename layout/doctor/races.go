package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

const (
	// localRacers is the number of racers if Options.Racers is nil.
	localRacers = 4
	// raceSize is about the size of a large journal entry, so that a store that shows parts has the time to do so.
	raceSize = 16 << 10
	// batchSize is the number of keys that are raced for at once.
	batchSize = 16
	// raceTime bounds the races. leastRaces are run in any case, mostRaces at most, because some servers fail one
	// race in hundreds. quickRaces are run in a quick examination.
	raceTime   = 2 * time.Second
	leastRaces = 320
	mostRaces  = 960
	quickRaces = 64
	// lead is the time that racers get to prepare for the start.
	lead = 2 * time.Millisecond
)

// Advice is for a store that does not keep the contract. StaleAdvice is for a store that shows an earlier state.
// DeleteAdvice is for a store that keeps what it says it deleted.
const (
	Advice = "Do not keep checkpoints here: use a local folder (ext4, xfs, btrfs), or an S3 server that obeys If-None-Match " +
		"(Amazon S3, MinIO, versitygw 1.8 or newer)."
	StaleAdvice  = "Do not keep checkpoints here: ckptd needs a store without caches that answer for it."
	DeleteAdvice = "Do not keep checkpoints here: ckptd needs a store that deletes what it says it deleted; see what answers in its place."
)

// unshared returns the store without its Close, for a racer.
func unshared(opened storage.Opened) storage.Opened {
	opened.Close = func() error { return nil }
	return opened
}

// openRacers opens the racers; if it cannot, it adds a finding and returns nil.
func (e *exam) openRacers(ctx context.Context) []Racer {
	e.say("starting processes that race")
	if e.o.Racers == nil {
		var racers []Racer
		for range localRacers {
			racers = append(racers, NewRacer(unshared(storage.Opened{Store: e.store, Facts: e.facts})))
		}
		return racers
	}
	racers, err := e.o.Racers(ctx)
	if err != nil {
		closeAll(racers)
		e.add("publish races", ckptdv1.Result_RESULT_NOT_EXAMINED, err.Error(), "See that this program may start itself, then run doctor again.")
		return nil
	}
	return racers
}

func closeAll(racers []Racer) {
	for _, r := range racers {
		_ = r.Close() // a racer that cannot end well has nothing more to report
	}
}

// together lets all racers do a task at the same moment; between is called when all are ready.
func (e *exam) together(racers []Racer, t Task, between func() error) ([]Answer, error) {
	answers := make([]Answer, len(racers))
	var ready errgroup.Group
	for i, r := range racers {
		mine := t
		mine.Author = i + 1
		ready.Go(func() error { return r.Ready(e.ops, mine) })
	}
	if err := ready.Wait(); err != nil {
		return nil, err
	}
	if between != nil {
		if err := between(); err != nil {
			return nil, err
		}
	}
	var g errgroup.Group
	at := time.Now().Add(lead)
	for i, r := range racers {
		g.Go(func() (err error) {
			answers[i], err = r.Go(e.ops, at)
			if err == nil && len(answers[i].Outcomes) != len(t.Keys) {
				err = errors.New("a racer returned another number of results than keys")
			}
			return err
		})
	}
	return answers, g.Wait()
}

// newKeys returns the keys of the next batch.
func (e *exam) newKeys(kind string, batch int) []string {
	keys := make([]string, batchSize)
	for i := range keys {
		keys[i] = e.key(fmt.Sprintf("%s-%03d-%02d", kind, batch, i))
	}
	return keys
}

// A tally counts how races ended.
type tally struct {
	races, decided int
	// unfit describes what no fit store does; trouble is an error that left a race undecided.
	unfit   string
	trouble string
}

// count judges one race by what each racer was told and saw.
func (t *tally) count(outcomes []Outcome) {
	t.races++
	winners, losers, author, winner := 0, 0, 0, 0
	for i, o := range outcomes {
		switch o.Told {
		case ToldWon:
			winners++
			winner = i + 1
		case ToldLost:
			losers++
		default:
			t.trouble = o.Error
			continue
		}
		switch o.Seen {
		case SeenAbsent:
			t.unfit = "an object that was there was not found"
		case SeenTorn:
			t.unfit = torn(o.Size)
		case SeenFailed:
			t.trouble = o.ReadError
		case SeenWhole:
			if author != 0 && author != o.Author {
				t.unfit = "an object changed after it was there"
			}
			author = o.Author
		}
	}
	switch {
	case winners > 1:
		t.unfit = fmt.Sprintf("%d of %d concurrent creators of one key were told that they won", winners, len(outcomes))
	case winners == 1 && author != 0 && author != winner:
		t.unfit = "a creator was told that it won, but the object is another's"
	case winners == 1 && losers == len(outcomes)-1, losers == len(outcomes) && author != 0:
		// A request was carried out twice: the winner is told that it lost, and learns from its read that it won.
		t.decided++
	}
}

// torn describes what a reader saw of a torn object: size bytes.
func torn(size int) string {
	if size == raceSize {
		return "a reader saw other bytes than were written"
	}
	return fmt.Sprintf("a reader saw a part of an object: %d bytes of %d", size, raceSize)
}

// races lets several processes publish the same keys at the same moments. For each key exactly one process may be
// told that it won, and all must read what the winner wrote.
func (e *exam) races(ctx context.Context, racers []Racer) {
	rounds := mostRaces
	if e.o.Quick {
		rounds = quickRaces
	}
	start := time.Now()
	var t tally
	for batch := 0; t.races < rounds && t.unfit == "" && ctx.Err() == nil; batch++ {
		if t.races >= leastRaces && time.Since(start) > raceTime {
			break
		}
		e.say(fmt.Sprintf("racing to publish: %d of %d", t.races, rounds))
		task := Task{Publish: true, Keys: e.newKeys("race", batch), Size: raceSize}
		answers, err := e.together(racers, task, nil)
		if err != nil {
			e.noteUnknown() // the missing answer leaves open what the racer did
			e.add("publish races", ckptdv1.Result_RESULT_NOT_EXAMINED, err.Error(), "Run doctor again.")
			return
		}
		for k := range task.Keys {
			outcomes := make([]Outcome, len(racers))
			for i := range racers {
				outcomes[i] = answers[i].Outcomes[k]
				if outcomes[i].Told == ToldUnknown {
					e.noteUnknown()
				}
			}
			t.count(outcomes)
		}
	}
	seen := fmt.Sprintf("%d of %d races between %d creators had one winner, in %v",
		t.decided, t.races, len(racers), time.Since(start).Round(time.Millisecond))
	switch {
	case t.unfit != "":
		e.unfit("publish races", t.unfit, Advice)
	case t.decided < t.races/2:
		e.add("publish races", ckptdv1.Result_RESULT_NOT_EXAMINED, seen+": "+t.trouble, cmp.Or(exhaustedThere(t.trouble), runAgain))
	case t.decided < t.races:
		e.add("publish races", ckptdv1.Result_RESULT_WARNING, seen+": "+t.trouble,
			"Nothing is lost by replies that do not come, but commits wait for them: look at the network and the server's log.")
	default:
		e.ok("publish races", seen)
	}
}

// visibility lets several processes read objects right after they were written, and right after they were deleted.
func (e *exam) visibility(ctx context.Context, racers []Racer) {
	const after, before = "read after write", "gone after delete"
	rounds := 4
	if e.o.Quick {
		rounds = 1
	}
	unfit := map[string]string{}
	checks := []string{after, "list after write", before}
	reads := 0
	for batch := 0; batch < rounds && ctx.Err() == nil && len(unfit) == 0; batch++ {
		e.say(fmt.Sprintf("looking right after each write and delete: %d of %d", batch*batchSize, rounds*batchSize))
		task := Task{Keys: e.newKeys("look", batch), Size: raceSize, Prefix: e.prefix}
		here, err := e.together(racers, task, func() error { return e.publishAll(task.Keys) })
		var gone []Answer
		if err == nil {
			gone, err = e.together(racers, task, func() error { return firstError(e.store.Delete(e.ops, task.Keys)) })
		}
		if err == nil {
			err = errors.Join(listErrors(here), listErrors(gone))
		}
		if err != nil {
			e.add(after, ckptdv1.Result_RESULT_NOT_EXAMINED, err.Error(), cmp.Or(exhausted(err), runAgain))
			return
		}
		reads += len(racers) * batchSize
		judgeReads(here, gone, checks, unfit)
	}
	for _, check := range checks {
		if seen := unfit[check]; seen != "" {
			e.unfit(check, seen, StaleAdvice)
		} else {
			e.ok(check, fmt.Sprintf("%d looks by %d readers", reads, len(racers)))
		}
	}
}

// judgeReads compares what readers saw with what they had to see: existing objects, and the same objects after their
// delete.
func judgeReads(here, gone []Answer, checks []string, unfit map[string]string) {
	for _, a := range here {
		for _, o := range a.Outcomes {
			switch {
			case o.Seen == SeenAbsent || !o.Statted && o.ReadError == "":
				unfit[checks[0]] = "an object is not found right after it was written"
			case o.Seen == SeenTorn:
				unfit[checks[0]] = torn(o.Size) + ", right after it was written"
			}
			if !o.Listed {
				unfit[checks[1]] = "a list that began after a write does not show the object"
			}
		}
	}
	for _, a := range gone {
		for _, o := range a.Outcomes {
			switch {
			case o.Statted || o.Seen == SeenWhole || o.Seen == SeenTorn:
				unfit[checks[2]] = "an object can be read after it was deleted"
			case o.Listed:
				unfit[checks[2]] = "a list that began after a delete still shows the object"
			}
		}
	}
}

func listErrors(answers []Answer) error {
	for _, a := range answers {
		if a.ListError != "" {
			return errors.New(a.ListError)
		}
		for _, o := range a.Outcomes {
			if o.ReadError != "" {
				return errors.New(o.ReadError)
			}
		}
	}
	return nil
}

func (e *exam) publishAll(keys []string) error {
	var g errgroup.Group
	for _, key := range keys {
		g.Go(func() error { return e.publish(key, content(1, key, raceSize)) })
	}
	return g.Wait()
}
