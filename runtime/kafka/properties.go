package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Properties are settings with Kafka's names, such as security.protocol. Formatting them shows names only, because values may be
// secrets.
type Properties map[string]string

// Format implements fmt.Formatter.
func (p Properties) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "%d properties", len(p)) }

// MarshalText implements encoding.TextMarshaler, for logs and JSON.
func (p Properties) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%v", p), nil }

// The properties of each kind of client.
const (
	both = iota
	sourceOnly
	sinkOnly
)

// known are the names that Properties may hold.
var known = map[string]int{
	"client.id": both, "default.api.timeout.ms": both, "metadata.max.age.ms": both,
	"security.protocol": both, "sasl.mechanism": both, "sasl.jaas.config": both, "sasl.username": both, "sasl.password": both,
	"ssl.truststore.location": both, "ssl.truststore.type": both, "ssl.truststore.certificates": both,
	"ssl.keystore.location": both, "ssl.keystore.type": both, "ssl.keystore.certificate.chain": both, "ssl.keystore.key": both,
	"ssl.endpoint.identification.algorithm": both,
	"isolation.level":                       sourceOnly, "fetch.max.bytes": sourceOnly, "max.partition.fetch.bytes": sourceOnly,
	"fetch.min.bytes": sourceOnly, "fetch.max.wait.ms": sourceOnly, "partition.discovery.interval.ms": sourceOnly,
	"transaction.timeout.ms": sinkOnly, "delivery.timeout.ms": sinkOnly, "linger.ms": sinkOnly,
	"buffer.memory": sinkOnly, "compression.type": sinkOnly, "max.request.size": sinkOnly,
}

// refuse returns an error for a name that a client of this kind does not know.
func (p Properties) refuse(kind int) error {
	for name := range p {
		of, ok := known[name]
		switch {
		case ok && of != both && of != kind:
			return fmt.Errorf("property %s does not belong to this end of the stream; remove it", name)
		case !ok:
			return fmt.Errorf("property %s is not known; docs/connectors.md lists the properties", name)
		}
	}
	return nil
}

// integer returns a number between low and high; without a value it is otherwise.
func (p Properties) integer(name string, low, high, otherwise int64) (int64, error) {
	text, ok := p[name]
	if !ok {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("property %s is %q; want a number from %d to %d", name, text, low, high)
	}
	return n, nil
}

const maxMillis = int64(24 * time.Hour / time.Millisecond)

func (p Properties) millis(name string, low int64, otherwise time.Duration) (time.Duration, error) {
	n, err := p.integer(name, low, maxMillis*7, otherwise.Milliseconds())
	return time.Duration(n) * time.Millisecond, err
}

// choice returns the value of an enumeration.
func (p Properties) choice(name, otherwise string, allowed ...string) (string, error) {
	text, ok := p[name]
	if !ok {
		return otherwise, nil
	}
	for _, a := range append(allowed, otherwise) {
		if strings.EqualFold(a, text) {
			return a, nil
		}
	}
	return "", fmt.Errorf("property %s is %q; want %s", name, text, strings.Join(append([]string{otherwise}, allowed...), ", "))
}

// security returns the options for TLS and SASL.
func (p Properties) security() ([]kgo.Opt, error) {
	protocol, err := p.choice("security.protocol", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
	if err != nil {
		return nil, err
	}
	var opts []kgo.Opt
	if strings.HasSuffix(protocol, "SSL") {
		config, err := p.tls()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(config))
	}
	if strings.HasPrefix(protocol, "SASL") {
		mechanism, err := p.sasl()
		if err != nil {
			return nil, err
		}
		return append(opts, mechanism), nil
	}
	for _, name := range []string{"sasl.mechanism", "sasl.jaas.config", "sasl.username", "sasl.password"} {
		if _, ok := p[name]; ok {
			return nil, fmt.Errorf("property %s needs security.protocol SASL_SSL or SASL_PLAINTEXT, not %s", name, protocol)
		}
	}
	return opts, nil
}

// Kafka's clients write user and password into one property, in the form of Java's login configuration.
var (
	jaasModule = regexp.MustCompile(`^\s*org\.apache\.kafka\.common\.security\.(plain\.Plain|scram\.Scram)LoginModule\s+required\s`)
	jaasValue  = regexp.MustCompile(`\b(username|password)\s*=\s*"((?:[^"\\]|\\.)*)"`)
	jaasEscape = regexp.MustCompile(`\\(.)`)
)

// credentials returns user and password. Its errors show no value.
func (p Properties) credentials() (user, password string, err error) {
	user, password = p["sasl.username"], p["sasl.password"]
	if jaas, ok := p["sasl.jaas.config"]; ok {
		if user != "" || password != "" {
			return "", "", errors.New("property sasl.jaas.config excludes sasl.username and sasl.password; keep one form")
		}
		if !jaasModule.MatchString(jaas) {
			return "", "", errors.New("property sasl.jaas.config: want PlainLoginModule or ScramLoginModule of Kafka, then: required username=\"…\" password=\"…\";")
		}
		for _, m := range jaasValue.FindAllStringSubmatch(jaas, -1) {
			value := jaasEscape.ReplaceAllString(m[2], "$1")
			if m[1] == "username" {
				user = value
			} else {
				password = value
			}
		}
	}
	if user == "" || password == "" {
		return "", "", errors.New("SASL needs a user and a password; set sasl.username and sasl.password, or sasl.jaas.config")
	}
	return user, password, nil
}

func (p Properties) sasl() (kgo.Opt, error) {
	mechanism, err := p.choice("sasl.mechanism", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
	if err != nil {
		return nil, err
	}
	user, password, err := p.credentials()
	if err != nil {
		return nil, err
	}
	switch mechanism {
	case "SCRAM-SHA-256":
		return kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism()), nil
	case "SCRAM-SHA-512":
		return kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()), nil
	}
	return kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism()), nil
}

func (p Properties) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	trusted, err := p.pem("ssl.truststore.location", "ssl.truststore.type", "ssl.truststore.certificates")
	if err != nil {
		return nil, err
	}
	if trusted != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(trusted) {
			return nil, errors.New("the truststore holds no certificate in PEM")
		}
	}
	chain, err := p.pem("ssl.keystore.location", "ssl.keystore.type", "ssl.keystore.certificate.chain")
	if err != nil {
		return nil, err
	}
	if chain != nil {
		key := []byte(p["ssl.keystore.key"])
		if len(key) == 0 {
			key = chain // the file holds both
		}
		pair, err := tls.X509KeyPair(chain, key)
		if err != nil {
			return nil, fmt.Errorf("the keystore: %w; want a certificate chain and an unencrypted key, both in PEM", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if algorithm, ok := p["ssl.endpoint.identification.algorithm"]; ok && algorithm == "" {
		verifyChainOnly(config)
	} else if ok && algorithm != "https" {
		return nil, errors.New("property ssl.endpoint.identification.algorithm: want https, or nothing to accept any host name")
	}
	return config, nil
}

// verifyChainOnly makes the client accept a trusted certificate of any host name.
func verifyChainOnly(config *tls.Config) {
	config.InsecureSkipVerify = true // VerifyConnection checks the chain
	config.VerifyConnection = func(state tls.ConnectionState) error {
		between := x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			between.AddCert(c)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: config.RootCAs, Intermediates: between})
		return err
	}
}

// pem returns the content of a store: a file, or a property of its own. nil means that neither is set.
func (p Properties) pem(location, kind, inline string) ([]byte, error) {
	if text, ok := p[inline]; ok {
		return []byte(text), nil
	}
	path, ok := p[location]
	if !ok {
		return nil, nil
	}
	if t, ok := p[kind]; ok && !strings.EqualFold(t, "PEM") {
		return nil, fmt.Errorf("property %s is %s; only PEM is read: export the store with keytool or openssl, and set PEM", kind, t)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("property %s: %w", location, err)
	}
	return content, nil
}
