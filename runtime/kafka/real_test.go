package kafka

import (
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/ckptd/ckptd/conformance/servers"
)

// real starts a real broker for a test of the full run.
func real(t testing.TB, settings map[string]string) (*servers.Kafka, *brokers) {
	t.Helper()
	if os.Getenv("CKPTD_TEST_FULL") == "" {
		t.Skip("a real broker takes ten seconds; CKPTD_TEST_FULL=1 runs it")
	}
	k := servers.StartKafka(t, settings)
	return k, use(t, k.Address)
}

func TestRealConnector(t *testing.T) {
	_, b := real(t, nil)
	t.Run("source", func(t *testing.T) { testSource(t, b) })
	t.Run("sink", func(t *testing.T) { testSink(t, b, true) })
	t.Run("sink, at least once", func(t *testing.T) { testAtLeastOnce(t, b) })
}

// The brokers' own answers to a user: right and wrong password, without rights.
func TestRealSASL(t *testing.T) {
	k, _ := real(t, map[string]string{
		"listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT", "inter.broker.listener.name": "PLAINTEXT",
		"sasl.enabled.mechanisms": "PLAIN", "sasl.mechanism.inter.broker.protocol": "PLAIN",
		"listener.name.plaintext.plain.sasl.jaas.config": `org.apache.kafka.common.security.plain.PlainLoginModule required username="root" password="p" user_root="p" user_ann="q";`,
		"authorizer.class.name":                          "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users": "User:root;User:ANONYMOUS",
	})
	as := func(user, password string) Properties {
		return Properties{"security.protocol": "SASL_PLAINTEXT", "sasl.username": user, "sasl.password": password}
	}
	b := use(t, k.Address, kgo.SASL(plain.Auth{User: "root", Pass: "p"}.AsMechanism()))
	_, err := b.admin.CreateTopic(t.Context(), 1, 1, nil, "t")
	check(t, err)
	check(t, through(t, k.Address, as("root", "p")))
	refused(t, through(t, k.Address, as("root", "wrong")), k.Address, "refuse the user or the password")
	refused(t, through(t, k.Address, as("ann", "q")), `"t"`, "may not")
	refused(t, through(t, k.Address, Properties{}), k.Address, "security.protocol")
}
