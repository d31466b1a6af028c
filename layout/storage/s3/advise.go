package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

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
		return wrongRegion(err, cause, c)
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
		return wrongRegion(err, cause, c)
	}
	var untrusted *tls.CertificateVerificationError
	var lookup *net.DNSError
	switch {
	case errors.As(cause, &untrusted):
		return fmt.Errorf("%w; %s", err, certificateAdvice(untrusted, c))
	case errors.As(cause, &lookup) && lookup.IsNotFound && !c.bucketInPath() && strings.HasPrefix(lookup.Name, c.Bucket+"."):
		return fmt.Errorf("%w; if the server does not take the bucket in the host name, say path_style=true", err)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%w; say endpoint=http://…", err)
	case codeOf(cause) == "" && strings.Contains(err.Error(), "get credentials:"):
		return fmt.Errorf("no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role: %w", err)
	case c.Endpoint == "":
		return err
	}
	return fmt.Errorf("%w (endpoint %s)", err, c.Endpoint)
}

// wrongRegion is advice for requests that were signed for another region than the bucket's.
func wrongRegion(err, cause error, c Config) error {
	if region := regionOf(cause); region != "" && region != c.Region {
		return fmt.Errorf("%w; the bucket is in another region: say region=%s instead of %s", err, region, c.Region)
	}
	return fmt.Errorf("%w; the bucket is in another region than %s: say region= with the right one", err, c.Region)
}

// expectedRegion finds the region that the store asks for in the words of its error.
var expectedRegion = regexp.MustCompile(`expecting ['"]([a-z0-9-]+)['"]`)

// regionOf returns the region of the bucket, if the reply names it.
func regionOf(err error) string {
	var reply *smithyhttp.ResponseError
	if errors.As(err, &reply) && reply.Response != nil && reply.Response.Response != nil {
		if region := reply.Response.Header.Get("X-Amz-Bucket-Region"); region != "" {
			return region
		}
	}
	if m := expectedRegion.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return ""
}

// certificateAdvice is advice for a certificate that was refused, by the cause.
func certificateAdvice(refused *tls.CertificateVerificationError, c Config) string {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(refused, &name):
		names := slices.Clone(name.Certificate.DNSNames)
		for _, ip := range name.Certificate.IPAddresses {
			names = append(names, ip.String())
		}
		if len(names) == 0 {
			return fmt.Sprintf("the server's certificate names no host at all: make one with %s in its subjectAltName", name.Host)
		}
		return fmt.Sprintf("the server's certificate is for %.200s: name one of these in endpoint=, or make a certificate with %s in its subjectAltName",
			strings.Join(names, ", "), name.Host)
	case errors.As(refused, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate is valid from %s to %s: renew it, or set this machine's clock",
			invalid.Cert.NotBefore.UTC().Format(time.RFC3339), invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
	case c.CAFile != "":
		return fmt.Sprintf("ca=%s does not hold the certificate that the server's is signed with", c.CAFile)
	}
	return "if the server is yours, say ca=, the file with the certificate to trust"
}
