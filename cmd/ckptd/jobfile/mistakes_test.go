package jobfile_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/cmd/ckptd/jobfile"
)

const good = `name: clicks
parallelism: 2
source:
  uid: clicks
  files: {path: clicks.jsonl}
  on-error: skip
steps:
  - filter: row.logged_in
  - map: {user: row.user, one: 1}
  - keyBy: row.user
  - reduce: {clicks: {sum: row.one}}
    uid: count
sink:
  uid: counts
  files: {path: counts}
configuration:
  execution.checkpointing.interval: 1s
`

// Each mistake is named with its line, its column and what is allowed.
func TestMistakes(t *testing.T) {
	for name, c := range map[string]struct{ was, is, want string }{
		"an unknown key":               {"name: clicks", "nam: clicks", "job.yaml:1:1: nam is unknown in the file; did you mean name?; allowed: name, parallelism, max-parallelism, source, steps, sink, configuration"},
		"a key twice":                  {"parallelism: 2", "name: x", "job.yaml:2:1: name is given twice; it is in line 1 already"},
		"a wrong type":                 {"parallelism: 2", "parallelism: two", `job.yaml:2:14: parallelism is "two"; want a whole number`},
		"a number out of range":        {"parallelism: 2", "parallelism: 0", "job.yaml:2:14: parallelism 0: want 1 to 32768"},
		"a name that is a list":        {"name: clicks", "name: [a]", "job.yaml:1:7: name is a list; want a text"},
		"no source":                    {"source:", "sources:", "job.yaml:3:1: sources is unknown in the file; did you mean source?"},
		"an unknown connector":         {"files: {path: clicks.jsonl}", "kafk: {}", "job.yaml:5:3: kafk is unknown in source"},
		"a sink as a source":           {"files: {path: clicks.jsonl}", "stdout: {}", "job.yaml:5:3: stdout is unknown in source"},
		"no connector":                 {"  files: {path: clicks.jsonl}\n", "", "job.yaml:4:3: source names no connector; want one of files, generator, kafka"},
		"two connectors":               {"on-error: skip", "generator: {}", "job.yaml:6:3: source has two connectors, files and generator; want one"},
		"an unknown option":            {"{path: clicks.jsonl}", "{paht: clicks.jsonl}", "job.yaml:5:11: paht is unknown in files; did you mean path?; allowed: path, format"},
		"an option of a wrong type":    {"{path: clicks.jsonl}", "{path: [a]}", "job.yaml:5:17: path is a list; want a text"},
		"an option that is missing":    {"{path: clicks.jsonl}", "{}", "job.yaml:5:10: files: path is missing: the file to read"},
		"an option with a wrong value": {"{path: clicks.jsonl}", "{path: x, format: xml}", `job.yaml:5:10: files: format "xml": want json or csv or text`},
		"a topic that is missing":      {"files: {path: clicks.jsonl}", "kafka: {bootstrap-servers: 'a:1'}", `job.yaml:5:10: kafka: source of topic "": option topic is missing; name the topic`},
		"an unknown start":             {"files: {path: clicks.jsonl}", "kafka: {topic: t, bootstrap-servers: 'a:1', start: first}", `job.yaml:5:10: kafka: option start is "first"; want earliest, latest, committed, timestamp`},
		"a time that is none":          {"files: {path: clicks.jsonl}", "kafka: {topic: t, start-time: monday}", `job.yaml:5:33: start-time is "monday"; want a time, like 2026-01-02T15:04:05Z`},
		"an unknown property":          {"files: {path: clicks.jsonl}", "kafka: {topic: t, bootstrap-servers: 'a:1', properties: {acks: all}}", "property acks is not known; docs/connectors.md lists the properties"},
		"a transaction that is short":  {"files: {path: counts}", "kafka: {topic: t, bootstrap-servers: 'a:1', properties: {transaction.timeout.ms: 1000}}", "property transaction.timeout.ms is 1000, and checkpoints begin every 1s"},
		"columns that are missing":     {"files: {path: counts}", "postgres: {dsn: dbname=shop, table: counts}", "job.yaml:15:13: postgres: columns: none are named"},
		"columns that are a text":      {"files: {path: counts}", "postgres: {dsn: dbname=shop, table: counts, columns: user}", "job.yaml:15:56: columns: want a list"},
		"an unknown mode":              {"files: {path: counts}", "postgres: {dsn: dbname=shop, table: counts, columns: [user], mode: twice}", `postgres: mode "twice": want exactly-once or upsert`},
		"an unknown policy":            {"on-error: skip", "on-error: ignore", `job.yaml:6:13: on-error "ignore": want fail, skip or dead-letter`},
		"no file for dead letters":     {"on-error: skip", "on-error: dead-letter", "job.yaml:6:13: on-error: dead-letter needs the file for such records: dead-letter: FILE"},
		"a file without the policy":    {"on-error: skip", "dead-letter: x", "job.yaml:6:16: dead-letter is for on-error: dead-letter"},
		"a rate of zero":               {"on-error: skip", "rate: 0", "job.yaml:6:9: rate 0: want a number above 0"},
		"steps that are no list":       {"steps:\n", "steps: x\nsink2:\n", `job.yaml:7:8: steps is "x"; want a list of filter, map, keyBy, reduce`},
		"an unknown step":              {"filter:", "filtre:", "job.yaml:8:5: filtre is unknown in a step; did you mean filter?; allowed: filter, map, keyBy, reduce, uid"},
		"a step with two things":       {"  - map:", "    map:", "job.yaml:9:5: one step has two things to do, filter and map; want one"},
		"a step that does nothing":     {"filter: row.logged_in", "uid: x", "job.yaml:8:5: a step names nothing to do; want one of filter, map, keyBy, reduce"},
		"an unknown variable":          {"row.logged_in", "logged_in", "job.yaml:8:13: filter: logged_in is unknown; a field of the row is row.logged_in"},
		"a syntax error":               {"row.logged_in", "row.logged_in &&", "job.yaml:8:29: filter: Syntax error"},
		"an error inside quotes":       {"row.logged_in", `"row.a == b"`, "job.yaml:8:23: filter: b is unknown; a field of the row is row.b"},
		"an error in a block":          {"row.logged_in", "|\n      row.a ==\n        b", "job.yaml:10:9: filter: b is unknown; a field of the row is row.b"},
		"an unknown function":          {"row.logged_in", "lower(row.a) == 'x'", "job.yaml:8:18: filter: lower is unknown"},
		"operators that do not fit":    {"row.logged_in", `"'a' + 1 == 2"`, "job.yaml:8:18: filter: found no matching overload for '_+_' applied to '(string, int)'"},
		"a filter that gives a text":   {"row.logged_in", `"'x'"`, "job.yaml:8:13: filter: the expression gives string; want bool"},
		"a filter that is a list":      {"row.logged_in", "[a]", "job.yaml:8:13: filter is a list; want an expression of CEL, like row.user"},
		"a map that is empty":          {"{user: row.user, one: 1}", "{}", "job.yaml:9:10: map is empty; want fields with expressions, like user: row.user"},
		"a map that gives a number":    {"{user: row.user, one: 1}", "1 + 2", "job.yaml:9:10: map: the expression gives int; want map(string, dyn)"},
		"an error in a field":          {"{user: row.user, one: 1}", "{user: user, one: 1}", "job.yaml:9:17: map user: user is unknown; a field of the row is row.user"},
		"no keyBy before reduce":       {"  - keyBy: row.user\n", "", "job.yaml:10:5: reduce has no keyBy before it; a step keyBy says what the rows are grouped by"},
		"no reduce behind keyBy":       {"  - reduce: {clicks: {sum: row.one}}\n    uid: count\n", "", "job.yaml:10:5: keyBy has no reduce behind it"},
		"a step between":               {"  - reduce:", "  - filter: true\n  - reduce:", "job.yaml:11:5: filter stands between keyBy and reduce; put it before keyBy or behind reduce"},
		"a key that is a list":         {"keyBy: row.user", "keyBy: \"[row.user]\"", "job.yaml:10:12: keyBy: the expression gives list(dyn); want string or int or bool"},
		"an unknown aggregate":         {"{sum: row.one}", "{avg: row.one}", "job.yaml:11:23: avg is unknown in an aggregate; allowed: count, sum, min, max, last"},
		"an aggregate without a value": {"{sum: row.one}", "sum", "job.yaml:11:22: sum needs an expression: {sum: row.price}"},
		"a count with a value":         {"{sum: row.one}", "{count: row.one}", "job.yaml:11:30: count takes no expression; write clicks: count"},
		"two aggregates in one field":  {"{sum: row.one}", "{sum: row.one, min: row.one}", "job.yaml:11:22: clicks has 2 aggregates"},
		"an aggregate named as a key":  {"{clicks: ", "{user: ", "job.yaml:11:14: user is a field of the key already; choose another name"},
		"a uid twice":                  {"uid: counts", "uid: count", `job.yaml:14:8: uid "count" is given twice; it is in line 12 already`},
		"a uid with a space":           {"uid: counts", "uid: a b", `job.yaml:14:8: uid "a b": want 1 to 128 of letters`},
		"an unknown key of Flink":      {"execution.checkpointing.interval", "execution.checkpointing.intervall", "job.yaml:17:3: execution.checkpointing.intervall is unknown; did you mean execution.checkpointing.interval?"},
		"a value of Flink":             {"interval: 1s", "interval: fast", "job.yaml:17:3: execution.checkpointing.interval:"},
		"a nested key of Flink":        {"execution.checkpointing.interval: 1s", "execution:\n    checkpointing:\n      mode: twice", `job.yaml:19:7: execution.checkpointing.mode: "twice" is unknown`},
		"a sink that is a text":        {"sink:\n  uid: counts\n  files: {path: counts}", "sink: stdout", `job.yaml:13:7: sink is "stdout"; want a mapping with files, kafka, postgres, stdout`},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(good, c.was) {
				t.Fatalf("the good file has no %q", c.was)
			}
			_, err := jobfile.Parse("job.yaml", t.TempDir(), []byte(strings.Replace(good, c.was, c.is, 1)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nwant one with %s", err, c.want)
			}
		})
	}
	t.Run("all mistakes at once", func(t *testing.T) {
		_, err := jobfile.Parse("job.yaml", "", []byte("nam: x\nsource: {file: {}}\nsteps: []\nsink: {stdout: {x: 1}}\n"))
		if n := strings.Count(err.Error(), "job.yaml:"); n != 3 {
			t.Errorf("%d mistakes, want 3:\n%v", n, err)
		}
	})
	for text, want := range map[string]string{"": "the file is empty", "a: [": "line 1", "- 1": "job.yaml:1:1: the file is a list; want a mapping", good + "---\nx: 1": "more than one document"} {
		if _, err := jobfile.Parse("job.yaml", "", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
	}
}

func TestGoodFile(t *testing.T) {
	dir := t.TempDir()
	f, err := jobfile.Parse(filepath.Join(dir, "job.yaml"), dir, []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if f.Config.Job.GetInterval().AsDuration().Seconds() != 1 || f.Job.Name() != "clicks" {
		t.Errorf("interval %v, name %q", f.Config.Job.GetInterval(), f.Job.Name())
	}
	var plan strings.Builder
	if err := f.Job.WritePlan(&plan); err != nil {
		t.Fatal(err)
	}
	if want := "job clicks: source (files) -> filter -> map -> keyBy ==by key==> reduce -> sink (files)\n"; !strings.HasPrefix(plan.String(), want) {
		t.Errorf("the plan is\n%swant %s", plan.String(), want)
	}
}
