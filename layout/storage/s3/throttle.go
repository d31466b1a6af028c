package s3

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// throttleCodes are error codes that ask for fewer requests and that the SDK does not know: Amazon's for a whole
// service, MinIO's.
var throttleCodes = map[string]bool{
	"ServiceUnavailable": true, "TooManyRequests": true, "ServerBusy": true, "SlowDownRead": true, "SlowDownWrite": true,
}

// throttles reports whether a reply asks for fewer requests. The code may stand in a reply of any status. A 503
// without a code comes from an overloaded proxy before the store.
func throttles(status int, code string) bool {
	_, known := retry.DefaultThrottleErrorCodes[code]
	return known || throttleCodes[code] || status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests
}

// sdkRetries reports the retries that the AWS SDK makes by itself. No error shows them.
type sdkRetries struct {
	listener atomic.Pointer[func(cause error)]
}

// listen implements storage.Facts.Repeats.
func (r *sdkRetries) listen(listener func(cause error)) { r.listener.Store(&listener) }

func (r *sdkRetries) report(cause error) {
	if listener := r.listener.Load(); listener != nil {
		(*listener)(plain(cause))
	}
}

// A retryReporter is the SDK's own retry policy. The SDK asks it for a token exactly when it is about to retry.
type retryReporter struct {
	aws.RetryerV2
	retries *sdkRetries
}

// GetRetryToken implements aws.Retryer.
func (t retryReporter) GetRetryToken(ctx context.Context, cause error) (func(error) error, error) {
	release, err := t.RetryerV2.GetRetryToken(ctx, cause)
	if err == nil {
		t.retries.report(cause)
	}
	return release, err
}

// repeatedAbove switches the SDK's retries off for requests that a caller of the SDK repeats: reads and deletes
// (package retry), Publish (the job's owner) and Complete (this package).
//
// Two policies would multiply, 3 tries by 6, just when the store is overloaded. While the SDK waits, the request also
// keeps its turn, and the limiter above does not learn why.
//
// The SDK keeps its retries where any other retry would send the whole object again, or show a list's objects again:
// for the start and the parts of an upload, for small objects, and for the later pages of a list. MaxAttempts, if
// given, is for all requests.
func (s *store) repeatedAbove(o *s3.Options) {
	if s.config.MaxAttempts == 0 {
		noRetries(o)
	}
}
