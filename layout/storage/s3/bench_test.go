package s3_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/ckptd/ckptd/conformance/servers"
	"github.com/ckptd/ckptd/layout/storage"
)

// BenchmarkTransfer moves objects up and down by the driver and, interleaved in the same run, by the SDK's own transfer manager, over the
// same server. Reported are the medians of a round by each, and
//
//	ratio        transfer manager / driver (limit: at least 0.9)
//	ratio-equal  the same, with the manager told to do no more than the driver does: bodies not signed, sums of downloads not checked (our
//	             readers check them above the driver)
func BenchmarkTransfer(b *testing.B) {
	for _, kind := range []string{servers.Versitygw, servers.MinIO} {
		server := servers.StartS3(b, kind, false)
		for _, c := range []struct{ size, atOnce int }{{4 << 10, 1}, {64 << 10, 16}, {1 << 20, 4}, {16 << 20, 1}, {96 << 20, 1}} {
			b.Run(fmt.Sprintf("%s/KiB=%d/at-once=%d", kind, c.size>>10, c.atOnce), func(b *testing.B) {
				b.Run("up", func(b *testing.B) { transfer(b, server, c.size, c.atOnce, true) })
				b.Run("down", func(b *testing.B) { transfer(b, server, c.size, c.atOnce, false) })
			})
		}
	}
}

// leastRounds is how many rounds a median needs.
const leastRounds = 15

func transfer(b *testing.B, server *servers.S3, size, atOnce int, up bool) {
	opened := open(b, server.URL("bench", ""))
	defer opened.Close()
	managers := []*transfermanager.Client{newManager(b, server, false), newManager(b, server, true)}
	data := random(size)
	opts := announced(data)
	methods := []func(key string) error{func(key string) error { return create(b.Context(), opened.Store, key, data, opts) }}
	for _, manager := range managers {
		methods = append(methods, func(key string) error { return upload(b.Context(), manager, "bench/"+key, data) })
	}
	if !up {
		for i := range atOnce {
			if err := methods[0](fmt.Sprintf("down/%d-%d", size, i)); err != nil {
				b.Fatal(err)
			}
		}
		methods = []func(key string) error{func(key string) error { return read(b.Context(), opened.Store, key, size) }}
		for _, manager := range managers {
			methods = append(methods, func(key string) error { return download(b.Context(), manager, "bench/"+key, size) })
		}
	}
	times := make([][]time.Duration, len(methods))
	round := 0
	one := func() {
		for i := range methods {
			m := (i + round) % len(methods)
			times[m] = append(times[m], together(b, atOnce, func(w int) error {
				if up {
					return methods[m](fmt.Sprintf("up/%d-%d-%d-%d", size, m, w, round%4))
				}
				return methods[m](fmt.Sprintf("down/%d-%d", size, w))
			}))
		}
		round++
	}
	one() // connections are made once
	clear(times)
	for b.Loop() {
		one()
	}
	for round < leastRounds {
		one()
	}
	driver, other, equal := median(times[0]), median(times[1]), median(times[2])
	b.ReportMetric(float64(driver.Microseconds()), "driver-µs")
	b.ReportMetric(float64(other.Microseconds()), "manager-µs")
	b.ReportMetric(float64(other)/float64(driver), "ratio")
	b.ReportMetric(float64(equal)/float64(driver), "ratio-equal")
	b.ReportMetric(0, "ns/op")
}

// newManager makes a transfer manager as it comes, or one that does no more than the driver.
func newManager(b *testing.B, server *servers.S3, equal bool) *transfermanager.Client {
	loaded, err := config.LoadDefaultConfig(b.Context(), config.WithRegion("us-east-1"))
	if err != nil {
		b.Fatal(err)
	}
	return transfermanager.New(s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.BaseEndpoint, o.UsePathStyle, o.Logger = aws.String(server.Endpoint), true, logging.Nop{}
		if equal {
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
			o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
		}
	}))
}

func upload(ctx context.Context, manager *transfermanager.Client, key string, data []byte) error {
	_, err := manager.UploadObject(ctx, &transfermanager.UploadObjectInput{
		Bucket: aws.String(servers.Bucket), Key: aws.String(key), Body: bytes.NewReader(data),
	})
	return err
}

func read(ctx context.Context, s storage.Store, key string, size int) error {
	r, err := s.Open(ctx, key, 0, int64(size))
	if err != nil {
		return err
	}
	defer r.Close()
	return drain(r, size)
}

func download(ctx context.Context, manager *transfermanager.Client, key string, size int) error {
	reply, err := manager.GetObject(ctx, &transfermanager.GetObjectInput{Bucket: aws.String(servers.Bucket), Key: aws.String(key)})
	if err != nil {
		return err
	}
	return drain(reply.Body, size)
}

func drain(r io.Reader, size int) error {
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 512<<10))
	if err == nil && n != int64(size) {
		err = fmt.Errorf("%d of %d bytes", n, size)
	}
	return err
}

// together lets so many do the same at once and gives the time until all are done.
func together(b *testing.B, atOnce int, do func(i int) error) time.Duration {
	began := time.Now()
	errs := make(chan error, atOnce)
	for i := range atOnce {
		go func() { errs <- do(i) }()
	}
	for range atOnce {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(began)
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
