package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// look lists one object of the bucket, to get the errors of a wrong set-up.
func (s *store) look(ctx context.Context) error {
	_, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &s.config.Bucket, Prefix: &s.prefix, MaxKeys: aws.Int32(1)})
	if err == nil {
		return nil
	}
	return advise(err, s.config)
}

// advise adds to an error of a wrong set-up what to do about it.
func advise(cause error, c Config) error {
	err := plain(cause)
	switch codeOf(cause) {
	case "NoSuchBucket":
		return fmt.Errorf("%w; make the bucket first (ckptd makes none), or mend its name", err)
	case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return fmt.Errorf("%w; the bucket is in another region: say region=%s", err, regionOf(cause))
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidTokenId", "XAdminUserNotFound":
		return fmt.Errorf("%w; the credentials found (AWS_ACCESS_KEY_ID, profile or role) are not this store's", err)
	case "ExpiredToken", "TokenRefreshRequired":
		return fmt.Errorf("%w; the credentials have expired: get new ones (aws sso login, a new AWS_SESSION_TOKEN), or use a role, which renews them", err)
	case "RequestTimeTooSkewed":
		return fmt.Errorf("%w; set this machine's clock", err)
	case "AccessDenied":
		return fmt.Errorf("%w; ckptd needs s3:ListBucket on the bucket and what else docs/stores.md lists", err)
	}
	if status := statusOf(cause); status == http.StatusMovedPermanently || status == http.StatusTemporaryRedirect {
		return fmt.Errorf("%w; the bucket is in another region: say region=%s", err, regionOf(cause))
	}
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(cause, &untrusted):
		return fmt.Errorf("%w; if the server is yours, say ca=, the file with the certificate to trust", err)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%w; say endpoint=http://…", err)
	case codeOf(cause) == "" && strings.Contains(err.Error(), "get credentials:"):
		return fmt.Errorf("no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role: %w", err)
	case c.Endpoint == "":
		return err
	}
	return fmt.Errorf("%w (endpoint %s)", err, c.Endpoint)
}

// regionOf returns the region of the bucket, if the reply names it.
func regionOf(err error) string {
	var reply *smithyhttp.ResponseError
	if errors.As(err, &reply) && reply.Response != nil && reply.Response.Response != nil {
		return reply.Response.Header.Get("X-Amz-Bucket-Region")
	}
	return ""
}
