package doctor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout/storage"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// pattern returns bytes that differ at every position, so that a shifted range is noticed.
func pattern(size int) []byte {
	b := make([]byte, (size+7)/8*8)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], uint64(i+1)*0x9e3779b97f4a7c15)
	}
	return b[:size]
}

func known(data []byte) storage.CreateOptions {
	return storage.CreateOptions{
		Size: int64(len(data)), HasSize: true, CRC32C: crc32c.Sum(data), HasCRC32C: true,
	}
}

// ifAbsent lets several creators compete for one key: for small objects at once, then for a large object over an
// existing one. Object stores handle a large object by another kind of request.
func (e *exam) ifAbsent(ctx context.Context) {
	const check, creators = "create if absent", 4
	rounds := 16
	if e.o.Quick {
		rounds = 4
	}
	e.say("racing to create if absent")
	decided := 0
	for round := 0; round < rounds && ctx.Err() == nil; round++ {
		key := e.key(fmt.Sprintf("absent-%02d", round))
		told := make([]error, creators)
		var g errgroup.Group
		for i := range creators {
			data := content(i+1, key, raceSize)
			opts := known(data)
			opts.IfAbsent = true
			g.Go(func() error { told[i] = e.create(ctx, key, opts, data); return nil })
		}
		_ = g.Wait() // no goroutine fails; told has the results
		winners, losers, winner, trouble := 0, 0, 0, error(nil)
		for i, err := range told {
			switch toldBy(err) {
			case ToldWon:
				winners++
				winner = i + 1
			case ToldLost:
				losers++
			default:
				trouble = err
			}
		}
		got, err := e.read(key, 0, -1)
		author, whole := authorOf(got, key, raceSize)
		switch {
		case winners > 1:
			e.unfit(check, fmt.Sprintf("%d of %d concurrent creators of one key were told that they won", winners, creators), Advice)
			return
		case winners == 1 && err == nil && (!whole || author != winner):
			e.unfit(check, "a creator was told that it won, but the object is another's", Advice)
			return
		case winners == 1 && errors.Is(err, storage.ErrNotFound):
			e.unfit(check, "an object is not found right after its creator was told that it won", StaleAdvice)
			return
		case winners == 0 && trouble != nil:
			e.trouble(check, trouble, Advice)
			return
		case winners == 1 && losers == creators-1:
			decided++
		}
	}
	if !e.o.Quick && ctx.Err() == nil && !e.largeIfAbsent(ctx) {
		return
	}
	e.ok(check, fmt.Sprintf("%d of %d races between %d creators had one winner", decided, rounds, creators))
}

// largeIfAbsent creates an object over an existing one, too large for one request. The existing object is not the
// canary, which must stay.
func (e *exam) largeIfAbsent(ctx context.Context) (good bool) {
	const check = "create if absent"
	key := e.key("there")
	if err := e.publish(key, []byte(key)); err != nil {
		e.trouble(check, err, e.permission("publish"))
		return false
	}
	data := pattern(unfinishedSize)
	err := e.retry(func() error { return e.create(ctx, key, storage.CreateOptions{IfAbsent: true}, data) })
	switch {
	case errors.Is(err, storage.ErrExists):
		return true
	case err == nil:
		e.unfit(check, "a large object replaced one that was there, against the condition", Advice)
	case noAnswer(err), exhausted(err) != "":
		e.trouble(check, err, "")
	default:
		e.add(check, ckptdv1.Result_RESULT_WARNING, "not for large objects: "+err.Error(),
			"Checkpoints work; those whose _metadata is larger than 8 MiB will fail, which needs a server that obeys If-None-Match on CompleteMultipartUpload.")
	}
	return false
}

// contentsOfObjects checks that ranges return the bytes that were written, and that bytes other than announced are
// refused.
func (e *exam) contentsOfObjects(ctx context.Context) {
	size := unfinishedSize
	if e.o.Quick {
		size = 1<<20 + 1
	}
	e.say("reading ranges")
	data := pattern(size)
	key, err := e.createAnew(ctx, "ranges", storage.CreateOptions{}, data[:size/3], data[size/3:])
	if err != nil {
		e.trouble("ranges", err, e.permission("create"))
		return
	}
	ranges := [][2]int{{0, -1}, {0, 1}, {size - 1, 1}, {size / 2, 70_000}, {size - 70_000, 70_000}, {4095, 4098}, {size / 3, -1}, {17, size - 40}}
	for _, r := range ranges {
		if ctx.Err() != nil {
			return
		}
		offset, length := r[0], r[1]
		want := data[offset:]
		if length >= 0 {
			want = want[:length]
		}
		got, err := e.read(key, int64(offset), int64(length))
		if err != nil && noAnswer(err) {
			e.trouble("ranges", err, "")
			return
		}
		if err != nil || !bytes.Equal(got, want) {
			seen := fmt.Sprintf("%d bytes from %d of an object of %d are not those that were written (%d came)", len(want), offset, size, len(got))
			if err != nil {
				seen += ": " + err.Error()
			}
			e.unfit("ranges", seen, "Do not keep checkpoints here: state that is read back wrongly restores a wrong job.")
			return
		}
	}
	if got, err := e.read(key, int64(size-10), 20); err == nil {
		e.unfit("ranges", fmt.Sprintf("a range beyond the end of an object gives %d bytes and no error", len(got)), Advice)
		return
	}
	e.ok("ranges", fmt.Sprintf("%d of an object of %d bytes", len(ranges)+1, size))
	e.announced(ctx)
}

// announced writes other bytes than it announced. They must never become an object.
func (e *exam) announced(ctx context.Context) {
	data := pattern(raceSize)
	opts := known(data)
	flipped := bytes.Clone(data)
	flipped[raceSize/2] ^= 1
	for name, given := range map[string][]byte{"flipped": flipped, "cut": data[:raceSize-1]} {
		key, err := e.createAnew(ctx, name, opts, given)
		if err != nil && noAnswer(err) {
			e.trouble("sums", err, "")
			return
		}
		_, statErr := e.store.Stat(e.ops, key)
		if err == nil || statErr == nil {
			e.unfit("sums", "bytes that are not those announced ("+name+") became an object", "Do not keep checkpoints here: damage on the way would go unnoticed.")
			return
		}
	}
	e.ok("sums", "bytes other than those announced are refused")
}
