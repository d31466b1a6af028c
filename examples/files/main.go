// Command files is the job of every tutorial as a Go program, from a file to files: clicks of logged-in users, counted by
// user. examples/files.yaml is the same job.
//
// It owns the graph. It must not know daemons or checkpoints.
//
//	go build -o files ./examples/files
//	ckptd run ./files
package main

import (
	"cmp"
	"os"

	"github.com/ckptd/ckptd/runtime/connectors"
	"github.com/ckptd/ckptd/runtime/program"
	"github.com/ckptd/ckptd/runtime/stream"
)

// Click is a line of the input.
type Click struct {
	User     string `json:"user"`
	LoggedIn bool   `json:"logged_in"`
}

// Count is a line of the output.
type Count struct {
	User   string `json:"user"`
	Clicks int64  `json:"clicks"`
}

// one is the count of one click.
type one = stream.KeyValue[int64]

func main() {
	program.Main(job(cmp.Or(os.Getenv("CLICKS"), "examples/clicks.jsonl"), cmp.Or(os.Getenv("COUNTS"), "examples/out")))
}

// job counts the clicks of a file.
func job(input, output string) *stream.Job {
	in := connectors.FileSource{Path: input}
	out := connectors.FileSink{Path: output, Name: "counts"}

	clicks := stream.From(stream.Source[Click]{Kind: "files", Open: in.OpenSource}).UID("clicks").
		Filter(func(c Click) bool { return c.LoggedIn })
	counts := stream.Map(clicks, func(c Click) one { return one{Key: c.User, Value: 1} }).
		KeyBy(func(o one) string { return o.Key }).
		Sum(func(o one) int64 { return o.Value }).UID("count")
	return stream.Map(counts, func(n one) Count { return Count{User: n.Key, Clicks: n.Value} }).
		To(stream.Sink{Kind: "files", Open: out.OpenSink}).UID("counts").
		Named("clicks").Parallelism(2)
}
