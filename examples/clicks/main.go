// Command clicks is the job of every tutorial as a Go program: clicks from Kafka, those of logged-in users, counted by
// user, into PostgreSQL. examples/clicks.yaml is the same job.
//
// It owns the graph. It must not know daemons or checkpoints.
//
//	go build -o clicks ./examples/clicks
//	ckptd run ./clicks
package main

import (
	"cmp"
	"os"

	"github.com/ckptd/ckptd/runtime/connectors"
	"github.com/ckptd/ckptd/runtime/kafka"
	"github.com/ckptd/ckptd/runtime/postgres"
	"github.com/ckptd/ckptd/runtime/program"
	"github.com/ckptd/ckptd/runtime/stream"
)

// Click is the value of a record of the topic.
type Click struct {
	User     string `json:"user"`
	LoggedIn bool   `json:"logged_in"`
}

// Count is a row of the table.
type Count struct {
	User   string `json:"user"`
	Clicks int64  `json:"clicks"`
}

// one is the count of one click.
type one = stream.KeyValue[int64]

func main() {
	program.Main(job(cmp.Or(os.Getenv("KAFKA"), "localhost:9092"), cmp.Or(os.Getenv("POSTGRES"), "host=localhost port=5432 user=ckptd dbname=ckptd")))
}

// job counts the clicks of a topic.
func job(brokers, dsn string) *stream.Job {
	in := connectors.KafkaSource{SourceOptions: kafka.SourceOptions{BootstrapServers: brokers, Topic: "clicks", Group: "clicks"}}
	out := connectors.PostgresSink{Options: postgres.Options{DSN: dsn, Table: "counts", Columns: postgres.Columns{{Name: "user"}, {Name: "clicks"}}}}

	clicks := stream.From(stream.Source[Click]{Kind: "kafka", Open: in.OpenSource, Unreadable: stream.Unreadable{OnError: stream.Skip}}).UID("clicks").
		Filter(func(c Click) bool { return c.LoggedIn })
	counts := stream.Map(clicks, func(c Click) one { return one{Key: c.User, Value: 1} }).
		KeyBy(func(o one) string { return o.Key }).
		Sum(func(o one) int64 { return o.Value }).UID("count")
	return stream.Map(counts, func(n one) Count { return Count{User: n.Key, Clicks: n.Value} }).
		To(stream.Sink{Kind: "postgres", Open: out.OpenSink}).UID("counts").
		Named("clicks").Parallelism(2)
}
