package gcs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/storage"
	"google.golang.org/api/iterator"

	contract "github.com/ckptd/ckptd/layout/storage"
)

// look lists one object of the bucket, to get the errors of a wrong set-up.
func (s *store) look(ctx context.Context) error {
	query := &storage.Query{Prefix: s.prefix, Projection: storage.ProjectionNoACL}
	if err := query.SetAttrSelection([]string{"Name"}); err != nil {
		return err
	}
	objects := s.bucket.Objects(ctx, query)
	objects.PageInfo().MaxSize = 1
	_, err := objects.Next()
	if err == nil || err == iterator.Done {
		return nil
	}
	return advise(err, s.conn)
}

// advise adds to an error of a wrong set-up what to do about it.
func advise(cause error, conn connection) error {
	err := plain(cause)
	var token *auth.Error
	var untrusted *tls.CertificateVerificationError
	switch status := statusOf(cause); {
	case errors.As(cause, &token):
		return fmt.Errorf("no token for the credentials: %w; renew them (gcloud auth application-default login, a new key), or set this machine's clock", err)
	case strings.Contains(err.Error(), "private key"): // the parser's text has bytes of the key
		return errors.New("the private key in the file of credentials cannot be read; take the file as Google made it, or make a new key")
	case status == http.StatusNotFound:
		return fmt.Errorf("%w; make the bucket first (ckptd makes none), or mend its name", err)
	case status == http.StatusUnauthorized && conn.anonymous:
		return fmt.Errorf("%w; no credentials were sent: take out anonymous=true, or use https", err)
	case status == http.StatusUnauthorized:
		return fmt.Errorf("%w; the credentials found (GOOGLE_APPLICATION_CREDENTIALS, gcloud's, the machine's) are not valid there", err)
	case status == http.StatusForbidden && !errors.Is(err, contract.ErrThrottled):
		return fmt.Errorf("%w; ckptd needs storage.objects.list on the bucket and what else docs/stores.md lists", err)
	case errors.As(cause, &untrusted):
		return fmt.Errorf("%w; if the server is yours, say ca=, the file with the certificate to trust", err)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%w; say endpoint=http://…", err)
	case conn.config.Endpoint == "":
		return err
	}
	return fmt.Errorf("%w (endpoint %s)", err, conn.config.Endpoint)
}
