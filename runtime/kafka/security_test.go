package kafka

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/ckptd/ckptd/conformance/certs"
)

const secret = `pass "word" \ 7`

// through writes and reads one record with properties.
func through(t testing.TB, address string, p Properties) error {
	t.Helper()
	p = maps.Clone(p)
	p["default.api.timeout.ms"] = cmp.Or(p["default.api.timeout.ms"], "5000")
	s, err := NewSink(SinkOptions{Topic: "t", BootstrapServers: address, Properties: p}, Subtask{Job: "j", Operator: "o"})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Restore(1, 0, nil); err != nil {
		return err
	}
	write(t, s, "a")
	check2(t, s, 1)
	// The broker answers the commit before the partition has its marker. A bounded source that opens in between ends before the record.
	for begun := time.Now(); ; {
		from, err := OpenSource(t.Context(), SourceOptions{Topic: "t", BootstrapServers: address, Bounded: true, Properties: p}, Subtask{Parallelism: 1})
		if err != nil {
			return err
		}
		got := all(t, from)
		if err := from.Close(); err != nil || len(got) > 0 {
			return err
		}
		if time.Since(begun) > time.Minute {
			return errors.New("no record has arrived")
		}
	}
}

func TestSASL(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "ann", secret),
		kfake.Superuser("SCRAM-SHA-256", "ann", secret), kfake.Superuser("SCRAM-SHA-512", "ann", secret))
	check(t, err)
	t.Cleanup(c.Close)
	address := c.ListenAddrs()[0]
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(secret)
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		module := map[bool]string{true: "plain.Plain", false: "scram.Scram"}[mechanism == "PLAIN"]
		jaas := "org.apache.kafka.common.security." + module + `LoginModule required username="ann" password="` + quoted + `";`
		for form, p := range map[string]Properties{
			"user and password": {"sasl.username": "ann", "sasl.password": secret},
			"jaas":              {"sasl.jaas.config": jaas},
		} {
			t.Run(mechanism+", "+form, func(t *testing.T) {
				p["security.protocol"], p["sasl.mechanism"] = "SASL_PLAINTEXT", mechanism
				check(t, through(t, address, p))
			})
		}
		t.Run(mechanism+", wrong password", func(t *testing.T) {
			err := through(t, address, Properties{"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": mechanism, "sasl.username": "ann", "sasl.password": "wrong-1",
				"default.api.timeout.ms": "200"})
			refused(t, err, address, "password", "sasl.")
			noSecret(t, err.Error(), "wrong-1")
		})
	}
}

func noSecret(t testing.TB, text string, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		if strings.Contains(text, s) {
			t.Errorf("a secret is in %q", text)
		}
	}
}

func TestTLS(t *testing.T) {
	ca := certs.New(t)
	cert, key := ca.Issue("broker", "127.0.0.1")
	other, otherKey := ca.Issue("elsewhere", "elsewhere.example")
	client, clientKey := ca.Issue("client", "client")
	both := filepath.Join(t.TempDir(), "client.pem")
	check(t, os.WriteFile(both, slices.Concat(read(t, client), read(t, clientKey)), 0o600))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(read(t, ca.File()))
	start := func(cert, key string, mutual bool) string {
		pair, err := tls.LoadX509KeyPair(cert, key)
		check(t, err)
		config := &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool}
		if mutual {
			config.ClientAuth = tls.RequireAndVerifyClientCert
		}
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.TLS(config))
		check(t, err)
		t.Cleanup(c.Close)
		return c.ListenAddrs()[0]
	}
	plain, mutual, elsewhere := start(cert, key, false), start(cert, key, true), start(other, otherKey, false)
	trust := Properties{"security.protocol": "SSL", "ssl.truststore.location": ca.File(), "ssl.truststore.type": "PEM"}
	with := func(more Properties) Properties {
		p := maps.Clone(trust)
		maps.Copy(p, more)
		return p
	}
	check(t, through(t, plain, trust))
	check(t, through(t, plain, Properties{"security.protocol": "SSL", "ssl.truststore.certificates": string(read(t, ca.File()))}))
	check(t, through(t, mutual, with(Properties{"ssl.keystore.location": both, "ssl.keystore.type": "PEM"})))
	check(t, through(t, mutual, with(Properties{"ssl.keystore.certificate.chain": string(read(t, client)), "ssl.keystore.key": string(read(t, clientKey))})))
	check(t, through(t, elsewhere, with(Properties{"ssl.endpoint.identification.algorithm": ""})))
	for name, c := range map[string]struct {
		address string
		p       Properties
	}{
		"a certificate of another host": {elsewhere, trust},
		"an unknown authority":          {plain, Properties{"security.protocol": "SSL"}},
		"no certificate of the client":  {mutual, trust},
		"no TLS":                        {plain, Properties{}},
	} {
		if err := through(t, c.address, c.p); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	bare := certs.New(t)
	if err := through(t, elsewhere, Properties{"security.protocol": "SSL", "ssl.truststore.location": bare.File(), "ssl.endpoint.identification.algorithm": ""}); err == nil {
		t.Error("without the check of host names, any authority is accepted")
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	check(t, err)
	return b
}

// A mistake is named with the option or property and what is allowed; no value of a secret property is shown.
func TestMistakes(t *testing.T) {
	source := func(change func(*SourceOptions)) error {
		o := SourceOptions{Topic: "t", BootstrapServers: "a:1,b:2", Properties: Properties{}}
		check(t, o.Validate())
		change(&o)
		return o.Validate()
	}
	property := func(name, value string) error {
		return source(func(o *SourceOptions) {
			o.Properties = Properties{"security.protocol": "SASL_SSL", "sasl.username": "u", "sasl.password": "p", name: value}
		})
	}
	missing := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		err   error
		words []string
	}{
		{source(func(o *SourceOptions) { o.Topic = "" }), []string{"topic"}},
		{source(func(o *SourceOptions) { o.BootstrapServers = "" }), []string{"bootstrap-servers", "host:port"}},
		{source(func(o *SourceOptions) { o.BootstrapServers = "a" }), []string{"bootstrap-servers", `"a"`, "host:port"}},
		{source(func(o *SourceOptions) { o.Start = "soon" }), []string{"start", `"soon"`, "earliest", "committed"}},
		{source(func(o *SourceOptions) { o.Start = StartCommitted }), []string{"group"}},
		{source(func(o *SourceOptions) { o.Start = StartTimestamp }), []string{"start-time"}},
		{source(func(o *SourceOptions) { o.OffsetReset = "no" }), []string{"offset-reset", "latest"}},
		{property("sasl.mechanism", "GSSAPI"), []string{"sasl.mechanism", "GSSAPI", "SCRAM-SHA-512"}},
		{property("security.protocol", "TLS"), []string{"security.protocol", "SASL_SSL"}},
		{property("security.protocol", "SSL"), []string{"sasl.", "SASL_SSL"}},
		{property("sasl.password", ""), []string{"sasl.password"}},
		{property("sasl.jaas.config", "x "+secret), []string{"sasl.jaas.config"}},
		{property("ssl.truststore.location", missing), []string{"ssl.truststore.location", missing}},
		{property("ssl.truststore.certificates", "x"), []string{"truststore", "PEM"}},
		{property("ssl.keystore.certificate.chain", "x"), []string{"keystore", "PEM"}},
		{property("ssl.endpoint.identification.algorithm", "ldaps"), []string{"ssl.endpoint.identification.algorithm", "https"}},
		{property("fetch.max.bytes", "many"), []string{"fetch.max.bytes", "many", "number"}},
		{property("isolation.level", "none"), []string{"isolation.level", "read_committed"}},
		{property("linger.ms", "1"), []string{"linger.ms", "remove"}},
		{property("bootstrap", "x"), []string{"bootstrap", "docs/connectors.md"}},
		{SinkOptions{Topic: "t", BootstrapServers: "a:1", Mode: "maybe"}.Validate(), []string{"mode", "exactly-once"}},
		{SinkOptions{Topic: "t", BootstrapServers: "a:1", LostTransactions: "x"}.Validate(), []string{"lost-transactions", "ignore"}},
		{SinkOptions{Topic: "t", BootstrapServers: "a:1", Properties: Properties{"fetch.max.bytes": "1"}}.Validate(), []string{"fetch.max.bytes"}},
		{SinkOptions{Topic: "t", BootstrapServers: "a:1", Properties: Properties{"compression.type": "rar"}}.Validate(), []string{"compression.type", "zstd"}},
	} {
		refused(t, c.err, c.words...)
		if c.err != nil {
			noSecret(t, c.err.Error(), secret)
		}
	}
	refused(t, source(func(o *SourceOptions) {
		o.Properties = Properties{"security.protocol": "SSL", "ssl.truststore.location": missing, "ssl.truststore.type": "JKS"}
	}), "ssl.truststore.type", "JKS", "PEM")
}

func TestNoSecretIsShown(t *testing.T) {
	o := SourceOptions{Topic: "t", Properties: Properties{"sasl.password": secret, "sasl.jaas.config": secret, "ssl.keystore.key": secret}}
	text, err := json.Marshal(o)
	check(t, err)
	for _, shown := range []string{fmt.Sprint(o), fmt.Sprintf("%+v %#v %v %s", o, o, o.Properties, o.Properties), string(text)} {
		noSecret(t, shown, secret, "word")
	}
}

// A user without rights hears which are missing.
func TestNotAllowed(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.EnableSASL(), kfake.EnableACLs(), kfake.User("PLAIN", "ann", "p"),
		kfake.Superuser("PLAIN", "root", "p"))
	check(t, err)
	t.Cleanup(c.Close)
	p := Properties{"security.protocol": "SASL_PLAINTEXT", "sasl.username": "ann", "sasl.password": "p"}
	_, err = OpenSource(t.Context(), SourceOptions{Topic: "t", BootstrapServers: c.ListenAddrs()[0], Properties: p}, Subtask{Parallelism: 1})
	refused(t, err, `"t"`, "may not", "docs/connectors.md")
}
