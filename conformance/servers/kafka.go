package servers

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// KafkaJars is the folder in bin/ that holds Kafka.
const KafkaJars = "kafka"

// Kafka is a running broker, which is its own controller.
type Kafka struct {
	// Address is host:port of the listener for clients.
	Address string

	dir, jars string
	broker    *process
}

// StartKafka starts a broker that ends with the test. settings are added to server.properties. Without Java, or without Kafka in
// bin/, it skips the test loudly; in CI it ends the test.
func StartKafka(t testing.TB, settings map[string]string) *Kafka {
	t.Helper()
	k, err := NewKafka(t.TempDir(), settings)
	if errors.Is(err, errNoKafka) && !InCI() {
		t.Skipf("NOT RUN: %s needs Kafka: %v", t.Name(), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

var errNoKafka = errors.New("`make servers` fetches Kafka, with Java and Maven")

// HaveKafka reports whether a broker can be started; the error says what is missing.
func HaveKafka() error {
	if _, err := exec.LookPath("java"); err != nil {
		return fmt.Errorf("java is missing: %w", errNoKafka)
	}
	if _, err := find(KafkaJars); err != nil {
		return fmt.Errorf("bin/%s is missing: %w", KafkaJars, errNoKafka)
	}
	return nil
}

// NewKafka starts a broker whose files lie in dir. The caller closes it.
func NewKafka(dir string, settings map[string]string) (*Kafka, error) {
	if err := HaveKafka(); err != nil {
		return nil, err
	}
	jars, err := find(KafkaJars)
	if err != nil {
		return nil, err
	}
	k := &Kafka{dir: dir, jars: filepath.Join(jars, "jars", "*")}
	for try := range 3 { // another process may take a port first
		k.dir = filepath.Join(dir, fmt.Sprint("kafka-", try))
		ports, portsErr := freePorts(2)
		if portsErr != nil {
			return nil, portsErr
		}
		if err = k.begin(ports, settings); err == nil {
			return k, nil
		}
		k.Close()
	}
	return nil, err
}

// StartKafkaBehindProxy starts a broker that sends its clients to a proxy. They begin at the proxy's address.
func StartKafkaBehindProxy(t testing.TB, settings map[string]string) (*Kafka, *Proxy) {
	t.Helper()
	if err := HaveKafka(); err != nil && !InCI() {
		t.Skipf("NOT RUN: %s needs Kafka: %v", t.Name(), err)
	}
	jars, err := find(KafkaJars)
	if err != nil {
		t.Fatal(err)
	}
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	proxy := StartProxy(t, ports[0])
	all := map[string]string{"advertised.listeners": "PLAINTEXT://" + proxy.Address}
	maps.Copy(all, settings)
	k := &Kafka{dir: t.TempDir(), jars: filepath.Join(jars, "jars", "*")}
	if err := k.begin(ports, all); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k, proxy
}

func (k *Kafka) begin(ports []string, settings map[string]string) error {
	k.Address = ports[0]
	if err := os.MkdirAll(k.dir, 0o777); err != nil {
		return err
	}
	properties := map[string]string{
		"process.roles": "broker,controller", "node.id": "1", "controller.quorum.voters": "1@" + ports[1],
		"listeners": "PLAINTEXT://" + ports[0] + ",CONTROLLER://" + ports[1], "advertised.listeners": "PLAINTEXT://" + ports[0],
		"controller.listener.names": "CONTROLLER", "log.dirs": filepath.Join(k.dir, "data"),
		"offsets.topic.replication.factor": "1", "offsets.topic.num.partitions": "1",
		"transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1", "transaction.state.log.num.partitions": "2",
		"group.initial.rebalance.delay.ms": "0",
	}
	maps.Copy(properties, settings)
	text := ""
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		text += name + "=" + properties[name] + "\n"
	}
	log := "status = error\nappender.out.type = Console\nappender.out.name = out\nappender.out.layout.type = PatternLayout\n" +
		"appender.out.layout.pattern = %d{HH:mm:ss,SSS} %p %c{1}: %m%n\nrootLogger.level = warn\nrootLogger.appenderRef.out.ref = out\n"
	if err := errors.Join(os.WriteFile(k.file("server.properties"), []byte(text), 0o644), os.WriteFile(k.file("log4j2.properties"), []byte(log), 0o644)); err != nil {
		return err
	}
	format := exec.Command("java", k.java("kafka.tools.StorageTool", "format", "-t", "Y2twdGQtdGVzdHMta2Fma2E", "-c", k.file("server.properties"))...)
	if out, err := format.CombinedOutput(); err != nil {
		return fmt.Errorf("format the storage of Kafka: %w: %s", err, out)
	}
	return k.Start()
}

func (k *Kafka) file(name string) string { return filepath.Join(k.dir, name) }

func (k *Kafka) java(class string, args ...string) []string {
	return append([]string{"-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.configurationFile=" + k.file("log4j2.properties"), "-cp", k.jars, class}, args...)
}

// Start starts the broker, again on the same address and data after Kill, and waits until it accepts connections.
func (k *Kafka) Start() error {
	path, err := exec.LookPath("java")
	if err != nil {
		return err
	}
	if k.broker, err = start(path, []string{"HOME=" + k.dir}, k.java("kafka.Kafka", k.file("server.properties"))...); err != nil {
		return err
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if !k.broker.running() {
			return fmt.Errorf("the broker ended: %s", k.broker.log)
		}
		if conn, err := net.DialTimeout("tcp", k.Address, time.Second); err == nil {
			return conn.Close()
		}
	}
	return fmt.Errorf("the broker is not ready after a minute: %s", k.broker.log)
}

// Kill ends the broker at once, as a crash would.
func (k *Kafka) Kill() { k.broker.kill() }

// Pause stops the broker until it is resumed.
func (k *Kafka) Pause(paused bool) error { return signal(k.broker, paused) }

// Close ends the broker.
func (k *Kafka) Close() {
	if k.broker.running() {
		k.broker.kill()
	}
}
