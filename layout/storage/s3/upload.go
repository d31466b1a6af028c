package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/semaphore"

	"github.com/ckptd/ckptd/layout/storage"
)

// An upload is one object that is sent in parts.
type upload struct {
	store   *store
	key     string
	id      *string
	ctx     context.Context // of the writer; cancelled when a part fails
	cancel  context.CancelCauseFunc
	sent    int // parts begun
	sending *semaphore.Weighted
	wg      sync.WaitGroup
	gone    bool // true if it must not be aborted: it is complete, aborted, or of unknown outcome
	// unsummed: the server computes no sums, because it copies the parts by itself. Not all servers do both.
	unsummed bool

	mu    sync.Mutex
	parts []types.CompletedPart
}

func (s *store) newUpload(ctx context.Context, key string, unsummed bool) (*upload, error) {
	input := &s3.CreateMultipartUploadInput{
		Bucket:       &s.config.Bucket,
		Key:          s.name(key),
		StorageClass: types.StorageClass(s.config.StorageClass),
	}
	if !s.config.NoChecksums && !unsummed {
		input.ChecksumAlgorithm, input.ChecksumType = types.ChecksumAlgorithmCrc32c, types.ChecksumTypeFullObject
	}
	if s.config.KMSKeyID != "" {
		input.ServerSideEncryption, input.SSEKMSKeyId = types.ServerSideEncryptionAwsKms, &s.config.KMSKeyID
	}
	created, err := s.client.CreateMultipartUpload(ctx, input)
	if err != nil {
		return nil, plain(err) // AbortUnfinished removes an upload whose id was lost
	}
	u := &upload{store: s, key: key, unsummed: unsummed, id: created.UploadId, sending: semaphore.NewWeighted(partsAtOnce)}
	u.ctx, u.cancel = context.WithCancelCause(ctx)
	return u, nil
}

// send uploads a part in the background, and releases it afterwards.
func (u *upload) send(p buffer) error {
	if u.sent == maxParts {
		p.release()
		return fmt.Errorf("object of more than %d parts", maxParts)
	}
	if u.sending.Acquire(u.ctx, 1) != nil {
		p.release()
		return context.Cause(u.ctx)
	}
	u.sent++
	number := int32(u.sent)
	u.wg.Go(func() {
		defer u.sending.Release(1)
		defer p.release()
		if err := u.sendPart(number, p.data); err != nil {
			u.cancel(fmt.Errorf("part %d: %w", number, plain(err)))
		}
	})
	return nil
}

func (u *upload) sendPart(number int32, data []byte) error {
	size, sum := int64(len(data)), u.store.encode(checksum(data))
	reply, err := u.store.client.UploadPart(u.ctx, &s3.UploadPartInput{
		Bucket:         &u.store.config.Bucket,
		Key:            u.store.name(u.key),
		UploadId:       u.id,
		PartNumber:     &number,
		Body:           bytes.NewReader(data),
		ContentLength:  &size,
		ChecksumCRC32C: sum,
	}, unsigned)
	if err == nil {
		err = checkETag(reply.ETag)
	}
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts = append(u.parts, types.CompletedPart{ETag: reply.ETag, PartNumber: &number, ChecksumCRC32C: sum})
	return nil
}

// completeTries is how often Complete is tried when its outcome is unknown or the store did not receive it. Repeating
// it is harmless; after giving up, the whole object would have to be sent again.
const completeTries = 4

// complete makes the parts an object.
func (u *upload) complete(size int64, sum uint32, ifAbsent bool) error {
	u.wg.Wait()
	if err := context.Cause(u.ctx); err != nil {
		return err
	}
	slices.SortFunc(u.parts, func(a, b types.CompletedPart) int { return int(*a.PartNumber - *b.PartNumber) })
	ctx, tries := watched(u.ctx)
	for attempt := 1; ; attempt++ {
		reply, err := u.store.client.CompleteMultipartUpload(ctx, u.completeInput(size, sum, ifAbsent), u.store.repeatedAbove)
		if err == nil {
			err = checkETag(reply.ETag)
		}
		outcome := tries.outcome(err, ifAbsent)
		unknown := errors.Is(outcome, storage.ErrUnknown)
		notReceived := errors.Is(outcome, storage.ErrThrottled) || err != nil && !tries.last().sent
		if !unknown && (!notReceived || attempt == completeTries) {
			u.gone = outcome == nil
			return outcome
		}
		u.gone = unknown // from here on it may be an object, which must not be aborted
		if unknown && (codeOf(err) == "NoSuchUpload" || attempt == completeTries) {
			return u.resolve(ctx, size, sum, outcome)
		}
		select {
		case <-time.After(time.Duration(attempt) * 200 * time.Millisecond):
			u.store.retries.report(outcome)
		case <-ctx.Done():
			return outcome
		}
	}
}

func (u *upload) completeInput(size int64, sum uint32, ifAbsent bool) *s3.CompleteMultipartUploadInput {
	input := &s3.CompleteMultipartUploadInput{
		Bucket:          &u.store.config.Bucket,
		Key:             u.store.name(u.key),
		UploadId:        u.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
		MpuObjectSize:   &size,
		IfNoneMatch:     onlyNew(ifAbsent),
	}
	if !u.store.config.NoChecksums && !u.unsummed {
		input.ChecksumCRC32C, input.ChecksumType = u.store.encode(sum), types.ChecksumTypeFullObject
	}
	return input
}

// resolve looks at the object itself. If it has our length and sum, it is ours. Anything else proves nothing.
func (u *upload) resolve(ctx context.Context, size int64, sum uint32, outcome error) error {
	head, err := u.store.client.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: &u.store.config.Bucket, Key: u.store.name(u.key), ChecksumMode: types.ChecksumModeEnabled,
	})
	if err != nil || u.store.config.NoChecksums {
		return outcome
	}
	if aws.ToInt64(head.ContentLength) == size && aws.ToString(head.ChecksumCRC32C) == *u.store.encode(sum) {
		return nil
	}
	return outcome
}

// abort aborts the upload after the parts that are being sent: a part that arrived later would stay for ever.
func (u *upload) abort() {
	u.cancel(errAborted)
	u.wg.Wait()
	if u.gone {
		return
	}
	u.gone = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), abortTime)
	defer cancel()
	_ = u.store.abortUpload(ctx, u.store.name(u.key), u.id) // AbortUnfinished removes what is left
}

// abortUpload aborts an upload. A missing upload is no error.
func (s *store) abortUpload(ctx context.Context, name, id *string) error {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.config.Bucket, Key: name, UploadId: id})
	if statusOf(err) == http.StatusNotFound {
		return nil
	}
	return err
}
