package s3

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ckptd/ckptd/crc32c"
	"github.com/ckptd/ckptd/layout/storage"
)

func checksum(data []byte) uint32 { return crc32c.Sum(data) }

// encode writes a sum as the protocol does. It returns nil if the server is not to be given sums.
func (s *store) encode(sum uint32) *string {
	if s.config.NoChecksums {
		return nil
	}
	return aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum)))
}

// onlyNew returns the value of If-None-Match.
func onlyNew(ifAbsent bool) *string {
	if !ifAbsent {
		return nil
	}
	return aws.String("*")
}

// put creates an object by one request. The SDK may repeat the request, unless the options say otherwise.
func (s *store) put(ctx context.Context, key string, data []byte, sum uint32, ifAbsent bool, options ...func(*s3.Options)) error {
	options = append(options, unsigned)
	for attempt := 1; ; attempt++ {
		watchedCtx, tries := watched(ctx)
		err := s.putObject(watchedCtx, s.putInput(key, bytes.NewReader(data), int64(len(data)), sum, ifAbsent), options...)
		outcome := tries.outcome(err, ifAbsent)
		if err == nil || attempt == folderTries || codeOf(err) != "ExistingObjectIsDirectory" || errors.Is(outcome, storage.ErrUnknown) {
			return outcome
		}
	}
}

// folderTries is how often a small object is tried when a server over a file tree says that the key is a folder. Such
// a server also says so if the last object in that folder, and so the folder, was deleted just then.
const folderTries = 5

// putOnce creates an object by one request whose body can be read only once.
func (s *store) putOnce(ctx context.Context, key string, body io.Reader, size int64, sum uint32, ifAbsent bool) error {
	ctx, tries := watched(ctx)
	err := s.putObject(ctx, s.putInput(key, body, size, sum, ifAbsent), unsigned, noRetries)
	return tries.outcome(err, ifAbsent)
}

func (s *store) putObject(ctx context.Context, input *s3.PutObjectInput, options ...func(*s3.Options)) error {
	reply, err := s.client.PutObject(ctx, input, options...)
	if err != nil {
		return err
	}
	return checkETag(reply.ETag)
}

func (s *store) putInput(key string, body io.Reader, size int64, sum uint32, ifAbsent bool) *s3.PutObjectInput {
	input := &s3.PutObjectInput{
		Bucket:         &s.config.Bucket,
		Key:            s.name(key),
		Body:           body,
		ContentLength:  &size,
		ChecksumCRC32C: s.encode(sum),
		IfNoneMatch:    onlyNew(ifAbsent),
		StorageClass:   types.StorageClass(s.config.StorageClass),
	}
	if s.config.KMSKeyID != "" {
		input.ServerSideEncryption, input.SSEKMSKeyId = types.ServerSideEncryptionAwsKms, &s.config.KMSKeyID
	}
	return input
}
