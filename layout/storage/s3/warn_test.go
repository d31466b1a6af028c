package s3_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ckptd/ckptd/layout/storage/s3"
)

// A warning of the SDK about credentials goes to the log of the process. Here the machine gives its role without a token.
func TestWarningsOfTheSDKAreLogged(t *testing.T) {
	noCredentials(t)
	machine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/latest/meta-data/iam/security-credentials/":
			fmt.Fprint(w, "role")
		case "/latest/meta-data/iam/security-credentials/role":
			fmt.Fprintf(w, `{"Code": "Success", "AccessKeyId": "a", "SecretAccessKey": "b", "Token": "c", "Expiration": %q}`,
				time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		default: // also the request for a token
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer machine.Close()
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", machine.URL)
	var out bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))

	c, err := s3.Parse("s3://bucket/x?endpoint=" + machine.URL + "&max_attempts=1")
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := s3.Open(t.Context(), c); err == nil {
		opened.Close()
	}
	if got := out.String(); !strings.Contains(got, `level=WARN msg="the AWS SDK says"`) || !strings.Contains(got, "IMDSv1") {
		t.Errorf("logged: %q, want the SDK's warning", got)
	}
}
