package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// newClient makes the SDK's client over connections of our own.
func newClient(ctx context.Context, c Config, r *repeats) (client *s3.Client, region string, closeClient func(), err error) {
	var options []func(*config.LoadOptions) error
	if c.Region != "" {
		options = append(options, config.WithRegion(c.Region))
	}
	if c.Endpoint != "" { // what servers other than Amazon's take, unless told otherwise
		options = append(options, config.WithDefaultRegion("us-east-1"))
	}
	if c.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(c.Profile))
	}
	base, err := baseClient(c)
	if err != nil {
		return nil, "", nil, err
	}
	options = append(options, config.WithHTTPClient(base), config.WithCredentialsCacheOptions(renewEarly))
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	var unknown config.SharedConfigProfileNotExistError
	if errors.As(err, &unknown) {
		return nil, "", nil, fmt.Errorf("no profile %q in the shared configuration (~/.aws/config, AWS_CONFIG_FILE); mend profile= or AWS_PROFILE", unknown.Profile)
	}
	if err != nil {
		return nil, "", nil, err
	}
	if loaded.Region == "" {
		return nil, "", nil, errors.New("no region; say region= in the URL, or AWS_REGION in the environment")
	}
	if _, err := loaded.Credentials.Retrieve(ctx); err != nil {
		return nil, "", nil, fmt.Errorf("no credentials: %w; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, say profile=, or see to the role (docs/stores.md)", plain(err))
	}
	transport := newTransport(loaded.HTTPClient)
	client = s3.NewFromConfig(loaded, func(o *s3.Options) {
		configure(o, c, r, transport)
		if cache, ok := loaded.Credentials.(*aws.CredentialsCache); ok {
			o.APIOptions = append(o.APIOptions, forgetExpired(cache))
		}
	})
	return client, loaded.Region, transport.CloseIdleConnections, nil
}

// baseClient is for those who give credentials (STS, SSO, a role's address), and has the trust for the store too. The SDK asks for credentials once
// for all requests and without their contexts, so an answer that never comes would hold up all of them for ever.
func baseClient(c Config) (*awshttp.BuildableClient, error) {
	base := awshttp.NewBuildableClient().WithTimeout(credentialTime)
	if c.CAFile == "" {
		return base, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	trust, err := x509.SystemCertPool() // the SDK's own option would trust nobody else: not Amazon's STS beside a server of one's own
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

// renewEarly: credentials are renewed a little before they expire, or a request that was signed just before would come too late.
func renewEarly(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = max(o.ExpiryWindow, renewTime) }

// forgetExpired has credentials renewed that the store calls expired, whatever this machine's clock says of them: if it is slow, they would
// be used on and on. The request itself has failed; the next one has new ones.
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

func configure(o *s3.Options, c Config, r *repeats, transport *http.Transport) {
	if c.Endpoint != "" {
		o.BaseEndpoint = aws.String(c.Endpoint)
	}
	o.UsePathStyle = c.PathStyle
	o.HTTPClient = &watcher{http.Client{Transport: transport, CheckRedirect: noRedirect}}
	if c.MaxAttempts > 0 {
		o.RetryMaxAttempts = c.MaxAttempts
	}
	if policy, ok := o.Retryer.(aws.RetryerV2); ok {
		o.Retryer = teller{policy, r}
	}
	// Sums are ours: readers check them above this package, for ranges too, which the SDK cannot.
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	o.Logger = logging.Nop{} // what matters is in the errors
	if c.NoChecksums {
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	}
}

// noRedirect: a body that is streamed cannot be sent twice, and a redirect tells of a wrong region, which people should know.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// newTransport keeps the SDK's own trust (ca=, AWS_CA_BUNDLE) and changes what matters for many large bodies: HTTP/1.1 only, as streams
// of one HTTP/2 connection would starve each other; many idle connections; and no silence without end.
func newTransport(base aws.HTTPClient) *http.Transport {
	transport := awshttp.NewBuildableClient().GetTransport()
	if b, ok := base.(*awshttp.BuildableClient); ok {
		transport = b.GetTransport()
	}
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	transport.ForceAttemptHTTP2 = false
	transport.MaxIdleConns = 512
	transport.MaxIdleConnsPerHost = 512
	transport.IdleConnTimeout = stallTime / 2
	transport.ReadBufferSize, transport.WriteBufferSize = 16<<10, 16<<10 // of each connection; large reads and writes pass them by
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &stallConn{Conn: conn}, nil
	}
	return transport
}

// A stallConn ends when it makes no progress for stallTime, or a little longer: the limit is moved only when an eighth of it has passed, as
// each move may wake the runtime's poller. A write gives the read that waits for its answer new time too.
type stallConn struct {
	net.Conn
	moved atomic.Int64 // Unix time in ns
}

// move gives both directions new time.
func (c *stallConn) move() error {
	now := time.Now()
	if now.UnixNano()-c.moved.Load() < int64(stallTime/8) {
		return nil
	}
	c.moved.Store(now.UnixNano())
	return c.SetDeadline(now.Add(stallTime + stallTime/8))
}

func (c *stallConn) Read(p []byte) (int, error) {
	if err := c.move(); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *stallConn) Write(p []byte) (int, error) {
	if err := c.move(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// unsigned leaves the body out of the signature: it is streamed, so nobody can hash it first, and CRC32C, which is signed, guards it.
func unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, swapPayloadHash)
}

// once switches the SDK's retries off, for a body that can be sent only once.
func once(o *s3.Options) { o.Retryer = aws.NopRetryer{} }

// oldDelete makes the SDK send Content-MD5 with DeleteObjects, for servers that know no newer sums.
func oldDelete(o *s3.Options) {
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

// A watcher does the requests of the SDK and writes down how each try of a mutation went.
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
