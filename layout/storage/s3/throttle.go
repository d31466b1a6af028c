package s3

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// throttleCodes are words for "fewer requests" that the SDK does not count among them: Amazon's for a whole service, MinIO's.
var throttleCodes = map[string]bool{
	"ServiceUnavailable": true, "TooManyRequests": true, "ServerBusy": true, "SlowDownRead": true, "SlowDownWrite": true,
}

// throttles tells whether a reply asks for fewer requests. Its word may stand in a reply of any status; a 503 without a word comes from
// something before the store, which has too much to do.
func throttles(status int, code string) bool {
	_, known := retry.DefaultThrottleErrorCodes[code]
	return known || throttleCodes[code] || status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests
}

// A repeats tells of the requests that are repeated below the contract, of which no error tells.
type repeats struct {
	listener atomic.Pointer[func(cause error)]
}

// listen implements storage.Facts.Repeats.
func (r *repeats) listen(listener func(cause error)) { r.listener.Store(&listener) }

func (r *repeats) tell(cause error) {
	if listener := r.listener.Load(); listener != nil {
		(*listener)(plain(cause))
	}
}

// A teller is the SDK's own policy, which asks it for a token exactly when it is about to repeat.
type teller struct {
	aws.RetryerV2
	repeats *repeats
}

// GetRetryToken implements aws.Retryer.
func (t teller) GetRetryToken(ctx context.Context, cause error) (func(error) error, error) {
	release, err := t.RetryerV2.GetRetryToken(ctx, cause)
	if err == nil {
		t.repeats.tell(cause)
	}
	return release, err
}

// repeatedAbove is for requests that somebody above the SDK repeats: reads and deletes (package retry), Publish (who owns the journal) and
// Complete (this package). Two policies would multiply, 3 tries by 6, just when the store is asked too much; and while the SDK waits, the
// request keeps its turn and the limit above does not know why. What is left to the SDK is what nobody else can repeat without sending
// the whole object again: the parts of an upload, its beginning, small objects; and the later pages of a list. max_attempts, where given, is for all.
func (s *store) repeatedAbove(o *s3.Options) {
	if s.config.MaxAttempts == 0 {
		once(o)
	}
}
