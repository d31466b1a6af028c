package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/ckptd/ckptd/layout/storage/wire"
)

// A connection is the SDK's client over our own transport.
type connection struct {
	client *s3.Client
	// config has the settings of environment and profile too; notes say where these come from.
	config Config
	notes  []string
	close  func()
}

func connect(ctx context.Context, c Config, r *sdkRetries) (connection, error) {
	loaded, err := load(ctx, c)
	if err != nil {
		return connection{}, err
	}
	found := connection{}
	if found.config, found.notes, err = complete(c, loaded); err != nil {
		return connection{}, err
	}
	if loaded.Region = found.config.Region; loaded.Region == "" {
		return connection{}, errors.New("no region; say region= in the URL, or AWS_REGION in the environment")
	}
	keys, err := loaded.Credentials.Retrieve(ctx)
	if err != nil {
		return connection{}, fmt.Errorf("no credentials: %w; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, say profile=, or see to the role (docs/stores.md)", plain(err))
	}
	if err := checkKeys(keys); err != nil {
		return connection{}, err
	}
	transport := newTransport(loaded.HTTPClient)
	found.close = transport.CloseIdleConnections
	found.client = s3.NewFromConfig(loaded, func(o *s3.Options) {
		configure(o, found.config, r, transport)
		if cache, ok := loaded.Credentials.(*aws.CredentialsCache); ok {
			o.APIOptions = append(o.APIOptions, forgetExpired(cache))
		}
	})
	return found, nil
}

// load reads the configuration of the environment and of the shared files.
func load(ctx context.Context, c Config) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{config.WithLogger(logging.LoggerFunc(warn))}
	if c.Region != "" {
		options = append(options, config.WithRegion(c.Region))
	}
	if c.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(c.Profile))
	}
	base, err := baseClient(c)
	if err != nil {
		return aws.Config{}, err
	}
	options = append(options, config.WithHTTPClient(base), config.WithCredentialsCacheOptions(renewEarly))
	if c.Endpoint != "" { // roles may need a region for the address of STS
		options = append(options, config.WithDefaultRegion(usualRegion))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	var unknown config.SharedConfigProfileNotExistError
	if errors.As(err, &unknown) {
		return aws.Config{}, fmt.Errorf("no profile %q in the shared configuration (~/.aws/config, AWS_CONFIG_FILE); mend profile= or AWS_PROFILE", unknown.Profile)
	}
	return loaded, err
}

// warn passes on what the SDK says about credentials and the configuration, and no error tells.
func warn(_ logging.Classification, format string, args ...any) {
	slog.Warn("the AWS SDK says", "text", fmt.Sprintf(format, args...))
}

// baseClient is the HTTP client for credentials (STS, SSO, a role's address); its trusted certificates are used for
// the store too.
//
// The SDK fetches credentials once for all requests, without their contexts. Without the timeout, an answer that
// never comes would hold up all requests for ever.
func baseClient(c Config) (*awshttp.BuildableClient, error) {
	base := awshttp.NewBuildableClient().WithTimeout(credentialTime)
	if c.CAFile == "" {
		return base, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	// The SDK's own option would trust only CAFile, so Amazon's STS would not be trusted beside a private server.
	trust, err := x509.SystemCertPool()
	if err != nil {
		trust = x509.NewCertPool()
	}
	if !trust.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca: no certificate in %s; want PEM", c.CAFile)
	}
	return base.WithTransportOptions(func(t *http.Transport) {
		if t.TLSClientConfig == nil {
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		t.TLSClientConfig.RootCAs = trust
	}), nil
}

// renewEarly renews credentials before they expire. A request signed just before that moment would arrive too late.
func renewEarly(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = max(o.ExpiryWindow, renewTime) }

// forgetExpired drops credentials that the store calls expired, even if this machine's clock says that they are
// valid. With a slow clock they would be used for ever. The request itself has failed; the next one gets new
// credentials.
func forgetExpired(cache *aws.CredentialsCache) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("ckptd:ForgetExpired", func(
			ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
		) (middleware.InitializeOutput, middleware.Metadata, error) {
			out, metadata, err := next.HandleInitialize(ctx, in)
			switch codeOf(err) {
			case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
				cache.Invalidate()
			}
			return out, metadata, err
		}), middleware.Before)
	}
}

func configure(o *s3.Options, c Config, r *sdkRetries, transport *http.Transport) {
	if c.Endpoint != "" {
		o.BaseEndpoint = aws.String(c.Endpoint)
	}
	o.UsePathStyle = c.bucketInPath()
	o.HTTPClient = &watcher{http.Client{Transport: transport, CheckRedirect: noRedirect}}
	if c.MaxAttempts > 0 {
		o.RetryMaxAttempts = c.MaxAttempts
	}
	if policy, ok := o.Retryer.(aws.RetryerV2); ok {
		o.Retryer = retryReporter{policy, r}
	}
	// Readers above this package check our sums, for ranges too. The SDK cannot check ranges.
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	o.Logger = logging.Nop{} // the errors say what matters
	if c.NoChecksums {
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	}
}

// noRedirect refuses redirects: a streamed body cannot be sent twice, and a redirect means a wrong region, which is
// reported.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// newTransport keeps the SDK's trusted certificates (ca=, AWS_CA_BUNDLE) and adapts the rest to many large bodies.
func newTransport(base aws.HTTPClient) *http.Transport {
	transport := awshttp.NewBuildableClient().GetTransport()
	if b, ok := base.(*awshttp.BuildableClient); ok {
		transport = b.GetTransport()
	}
	wire.Adapt(transport, stallTime)
	return transport
}

// unsigned leaves the body out of the signature. A streamed body cannot be hashed first; its CRC32C, which is signed,
// guards it.
func unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, swapPayloadHash)
}

// noRetries switches the SDK's retries off, for a body that can be sent only once.
func noRetries(o *s3.Options) { o.Retryer = aws.NopRetryer{} }

// sendContentMD5 makes the SDK send Content-MD5 with DeleteObjects, for servers that know no newer sums.
func sendContentMD5(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		for _, id := range []string{"AWSChecksum:ComputeInputPayloadChecksum", "addInputChecksumTrailer"} {
			if _, ok := stack.Finalize.Get(id); ok {
				if _, err := stack.Finalize.Remove(id); err != nil {
					return err
				}
			}
		}
		if _, ok := stack.Initialize.Get("AWSChecksum:SetupInputContext"); ok {
			if _, err := stack.Initialize.Remove("AWSChecksum:SetupInputContext"); err != nil {
				return err
			}
		}
		return smithyhttp.AddContentChecksumMiddleware(stack)
	})
}

// A watcher sends the SDK's requests and records the outcome of each try of a mutation.
type watcher struct{ client http.Client }

// Do implements aws.HTTPClient.
func (w *watcher) Do(req *http.Request) (*http.Response, error) {
	tries := triesOf(req.Context())
	if tries == nil {
		return w.client.Do(req)
	}
	req, end := tries.begin(req)
	resp, err := w.client.Do(req)
	end(resp, err)
	return resp, err
}
