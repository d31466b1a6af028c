package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A bar is the limit of a ratio: it must be at least least, or at most most. The zero value has no limit.
type bar struct{ least, most float64 }

func (b bar) meets(value float64) bool {
	return (b.least == 0 || value >= b.least) && (b.most == 0 || value <= b.most)
}

func (b bar) String() string {
	switch {
	case b.least != 0:
		return "≥ " + number(b.least)
	case b.most != 0:
		return "≤ " + number(b.most)
	}
	return "reported"
}

// A column of a table whose rows are benchmarks.
type column struct {
	head, unit string
	bar        bar
}

// A table has a row for each benchmark whose name begins with below.
type table struct {
	name, below string
	columns     []column
}

var tables = []table{
	{"transfer", "Transfer/", []column{
		{"driver, MiB/s", "driver-MiB/s", bar{}}, {"against the transfer manager", "manager/driver", bar{least: 0.9}},
		{"against s5cmd", "s5cmd/driver", bar{least: 1}}, {"against a manager that does no more than the driver", "equal/driver", bar{}},
	}},
	{"transfer-cost", "Transfer/", []column{
		{"driver, CPU s/GiB", "driver-cpu-s/GiB", bar{}}, {"manager, CPU", "manager-cpu-s/GiB", bar{}}, {"s5cmd, CPU", "s5cmd-cpu-s/GiB", bar{}},
		{"driver, peak MiB", "driver-peak-MiB", bar{}}, {"manager, peak", "manager-peak-MiB", bar{}}, {"s5cmd, peak", "s5cmd-peak-MiB", bar{}},
	}},
	{"hdfs-large", "HDFS/large/", hdfsColumns(bar{least: 1})},
	{"hdfs-small", "HDFS/small/", hdfsColumns(bar{})},
	{"hdfs-publish", "HDFSPublish", []column{
		{"entries/s", "entries/s", bar{}}, {"p50, ms", "entry-ms", bar{}}, {"bare calls, p50, ms", "calls-ms", bar{}}, {"p50 against bare", "ratio", bar{}},
	}},
	{"gcs", "GCS/", []column{
		{"driver, MiB/s", "driver-MiB/s", bar{}}, {"library, MiB/s", "library-MiB/s", bar{}}, {"against the library", "library/driver", bar{least: 0.95}},
		{"driver, CPU s/GiB", "driver-cpu-s/GiB", bar{}}, {"library, CPU", "library-cpu-s/GiB", bar{}},
		{"driver, peak MiB", "driver-peak-MiB", bar{}}, {"library, peak", "library-peak-MiB", bar{}},
	}},
	{"daemon", "Daemon/", []column{
		{"through the daemon, MiB/s", "daemon-MiB/s", bar{}}, {"driver alone", "driver-MiB/s", bar{}}, {"daemon against driver", "driver/daemon", bar{}},
		{"daemon, CPU s/GiB", "daemon-cpu-s/GiB", bar{}}, {"its peak so far, MiB", "daemon-peak-MiB", bar{}},
	}},
	{"commits", "CommitS3/", []column{
		{"commits/s", "commits/s", bar{}}, {"p50, ms", "commit-ms", bar{}}, {"p99, ms", "commit-p99-ms", bar{}},
		{"bare requests, p50, ms", "requests-ms", bar{}}, {"p99, ms", "requests-p99-ms", bar{}}, {"p50 against bare", "ratio", bar{}},
	}},
	{"start", "OpenRoot/", []column{
		{"opening the store, ms", "store-ms", bar{}}, {"an empty root, ms", "empty-ms", bar{}}, {"an existing one, ms", "existing-ms", bar{}},
	}},
	{"copy", "Copy/", []column{
		{"`ckptd copy`, MiB/s", "ckptd-MiB/s", bar{}}, {"against s5cmd", "s5cmd/ckptd", bar{least: 1}},
		{"again with 1 % new files, ms", "second-ms", bar{}},
		{"its time against the first", "second/first", bar{}}, {"bytes moved against new ones", "moved/new", bar{most: 1}},
	}},
	{"restore", "Restore/", []column{
		{"from a lent checkpoint, MiB/s", "lent-MiB/s", bar{}}, {"from one's own, MiB/s", "own-MiB/s", bar{}}, {"lent against own", "own/lent", bar{}},
		{"the import, once, ms", "import-ms", bar{}},
	}},
	{"delete", "Delete/", deleteColumns},
	{"plan", "Plan/", planColumns},
	{"beside", "LongPlan/", besideColumns},
	{"file", "Durable/", []column{
		{"driver, MB/s", "driver-MB/s", bar{}}, {"driver, ms", "driver-ms", bar{}}, {"write and fsync, ms", "plain-ms", bar{}},
		{"against write and fsync", "ratio", bar{least: 0.9}}, {"against one that syncs the folder too", "ratio-durable", bar{}},
	}},
}

func hdfsColumns(b bar) []column {
	return []column{
		{"driver, MiB/s", "driver-MiB/s", bar{}}, {"Java, MiB/s", "java-MiB/s", bar{}}, {"against Java", "java/driver", b},
		{"driver, CPU s/GiB", "driver-cpu-s/GiB", bar{}}, {"Java, CPU", "java-cpu-s/GiB", bar{}},
		{"driver, peak MiB", "driver-peak-MiB", bar{}}, {"Java, peak", "java-peak-MiB", bar{}},
	}
}

var deleteColumns = []column{
	{"`ckptd gc --yes`, objects/s", "gc-objects/s", bar{}}, {"s5cmd rm, objects/s", "s5cmd-objects/s", bar{}},
	{"against s5cmd", "s5cmd/gc", bar{least: 1}}, {"the driver alone, objects/s", "driver-objects/s", bar{}},
}

var planColumns = []column{
	{"the plan, s", "plan-s", bar{}}, {"against a plain list", "ratio", bar{most: 1.5}}, {"the same of the CPU time", "cpu-ratio", bar{}},
	{"largest heap, MB", "MB", bar{most: 200}},
}

var besideColumns = []column{
	{"a checkpoint alone, p50, ms", "alone-p50-ms", bar{}}, {"beside the plan, p50, ms", "beside-p50-ms", bar{}},
	{"beside against alone", "beside/alone", bar{most: 2}}, {"beside, p99, ms", "beside-p99-ms", bar{}}, {"a plan, s", "seconds", bar{}},
	{"daemon's memory, MB", "resident-MB", bar{}},
}

// longTables are what `make bench-long` measures.
var longTables = []table{
	{"long-jobs", "LongJobs/", []column{
		{"checkpoints/s", "checkpoints/s", bar{least: 995}}, {"p50, ms", "p50-ms", bar{}}, {"p99, ms", "p99-ms", bar{most: 400}},
		{"daemon's memory, MB", "resident-MB", bar{most: 200}}, {"its CPU, ms a checkpoint", "cpu-ms/checkpoint", bar{}},
		{"the same calls alone, checkpoints/s", "bare/s", bar{}}, {"their CPU, ms a checkpoint", "bare-cpu-ms", bar{}},
		{"aborted", "aborted", bar{}}, {"measured for, s", "seconds", bar{}},
	}},
	{"long-sweep", "LongSweep/", []column{
		{"a checkpoint alone, p50, ms", "alone-p50-ms", bar{}}, {"beside the sweep, p50, ms", "beside-p50-ms", bar{}},
		{"beside against alone", "beside/alone", bar{most: 2}}, {"beside, p99, ms", "beside-p99-ms", bar{}}, {"sweep and deletes, s", "seconds", bar{}},
	}},
	{"long-plan", "Plan/", planColumns},
	{"long-beside", "LongPlan/", besideColumns},
	{"long-delete", "Delete/", deleteColumns},
	{"long-peers", "Peers/", []column{
		{"ckptd, s", "ckptd-s", bar{}}, {"restic, s", "restic-s", bar{}}, {"kopia, s", "kopia-s", bar{}},
		{"ckptd against restic", "restic/ckptd", bar{least: 1}}, {"ckptd against kopia", "kopia/ckptd", bar{least: 1}},
		{"on the disk then, MB: ckptd", "ckptd-MB", bar{}}, {"restic", "restic-MB", bar{}}, {"kopia", "kopia-MB", bar{}},
	}},
	{"long-back", "LongBack/", []column{
		{"all back after, s", "seconds", bar{most: 2}}, {"daemon's CPU, s", "cpu-s", bar{}},
		{"attached, bytes a job", "attached-bytes/job", bar{most: 16 << 10}}, {"after the restart, bytes a job", "restarted-bytes/job", bar{most: 16 << 10}},
	}},
}

// A line of the table of budgets.
type line struct {
	what, name, unit string
	bar              bar
}

var budgets = []line{
	{"last acknowledgement to Complete, small state, files, against its five fsyncs", "Commit", "ratio", bar{most: 1.5}},
	{"a reference to a known file, in memory, ns of CPU", "Reference", "cpu-ns/reference", bar{most: 2000}},
	{"memory of an attached job without a worker, bytes", "Memory/attached job without a worker", "bytes", bar{most: 16 << 10}},
	{"memory of a known shared file, bytes", "Memory/known file", "bytes", bar{most: 256}},
	{"worker to daemon to files by TCP, against a raw PUT", "PutFile", "ckptd-tcp/raw-tcp", bar{least: 0.9}},
	{"the same, against a direct write", "PutFile", "ckptd-tcp/direct", bar{least: 0.5}},
	{"the same by Unix socket, against a direct write", "PutFile", "ckptd-unix/direct", bar{least: 0.6}},
	{"the same by TCP, bytes thrown away, against a raw PUT", "PutDiscard", "ckptd-tcp/raw-tcp", bar{least: 0.9}},
	{"restoring by TCP, against `http.ServeContent`", "Get", "ckptd-tcp/raw-tcp", bar{least: 0.85}},
	{"restoring by Unix socket, against the same", "Get", "ckptd-unix/raw-unix", bar{least: 0.85}},
	{"`verify --read-data` of 64 files of 4 MiB from the disk, against reading them", "ReadData", "ratio", bar{least: 0.9}},
	{"records/s with checkpoints at 1 s, against off, LSM state", "Graph/lsm,_1s", "against off", bar{least: 0.95}},
}

var streams = []column{
	{"direct", "direct-cpu-s/GiB", bar{}}, {"raw, TCP", "raw-tcp-cpu-s/GiB", bar{}}, {"ckptd, TCP", "ckptd-tcp-cpu-s/GiB", bar{}},
	{"raw, Unix", "raw-unix-cpu-s/GiB", bar{}}, {"ckptd, Unix", "ckptd-unix-cpu-s/GiB", bar{}},
}

// derive adds the figures that compare two benchmarks.
func (f *figures) derive() {
	off, ok := f.of("Graph/lsm", "records/s")
	on, also := f.of("Graph/lsm,_1s", "records/s")
	if ok && also {
		f.addValue("Graph/lsm,_1s", "against off", strconv.FormatFloat(on/off, 'g', -1, 64))
	}
}

// renderLong returns the text of each table of a long run, by its name.
func (f *figures) renderLong() map[string]string {
	all := map[string]string{"long-made": f.made("make bench-long")}
	for _, t := range longTables {
		all[t.name] = f.table(t)
	}
	return all
}

// render returns the text of each table, by its name.
func (f *figures) render() map[string]string {
	f.derive()
	all := map[string]string{"made": f.made("make bench"), "budgets": f.budgets()}
	for _, t := range tables {
		all[t.name] = f.table(t)
	}
	var rows [][]string
	for _, name := range []string{"PutDiscard", "PutFile", "Get"} {
		row := []string{name}
		for _, c := range streams {
			row = append(row, f.cell(name, c))
		}
		rows = append(rows, row)
	}
	all["streams"] = markdown(append([]string{""}, heads(streams)...), rows)
	return all
}

func (f *figures) table(t table) string {
	head := append([]string{""}, heads(t.columns)...)
	judged := slices.ContainsFunc(t.columns, func(c column) bool { return c.bar != bar{} })
	if judged {
		head = append(head, "met")
	}
	var rows [][]string
	for _, name := range f.names {
		rest, ok := strings.CutPrefix(name, t.below)
		if !ok {
			continue
		}
		row, missed := []string{title(rest)}, []string{}
		for _, c := range t.columns {
			row = append(row, f.cell(name, c))
			if value, ok := f.of(name, c.unit); ok && !c.bar.meets(value) {
				missed = append(missed, c.head)
			}
		}
		if judged && len(missed) == 0 {
			row = append(row, "yes")
		} else if judged {
			row = append(row, "no")
		}
		rows = append(rows, row)
	}
	return markdown(head, rows)
}

func (f *figures) cell(name string, c column) string {
	value, ok := f.of(name, c.unit)
	if !ok {
		return "–"
	}
	if !c.bar.meets(value) {
		return "**" + number(value) + "**"
	}
	return number(value)
}

func (f *figures) budgets() string {
	var rows [][]string
	for _, l := range budgets {
		value, ok := f.of(l.name, l.unit)
		row := []string{l.what, l.bar.String(), "not measured", ""}
		if ok {
			row[2], row[3] = number(value), "yes"
			if !l.bar.meets(value) {
				row[3] = "no"
			}
		}
		rows = append(rows, row)
	}
	return markdown([]string{"what", "budget", "measured", "met"}, rows)
}

// made says by which command, when and on which machine the figures were made, and its load.
func (f *figures) made(by string) string {
	first := func(of string) string {
		if len(f.environment[of]) == 0 {
			return "?"
		}
		return f.environment[of][0]
	}
	least, most := math.Inf(1), math.Inf(-1)
	for _, text := range f.environment["load"] {
		if l, err := strconv.ParseFloat(text, 64); err == nil {
			least, most = min(least, l), max(most, l)
		}
	}
	return fmt.Sprintf("Made by `%s` on %s, in %s: %s, %d cores; load average (its own included) %s to %s.\n",
		by, first("date"), first("took"), first("cpu"), f.cores, number(least), number(most))
}

func heads(columns []column) []string {
	var heads []string
	for _, c := range columns {
		head := c.head
		if c.bar != (bar{}) {
			head += " (" + c.bar.String() + ")"
		}
		heads = append(heads, head)
	}
	return heads
}

// title turns "minio/KiB=4/at-once=16/up" into "minio, 4 KiB, 16 at once, up". `go test` writes "_" for a blank.
func title(name string) string {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		if key, value, ok := strings.Cut(part, "="); ok {
			n, err := strconv.Atoi(value)
			if key == "KiB" && err == nil && n >= 1<<10 {
				key, value = "MiB", strconv.Itoa(n>>10)
			}
			part = value + " " + strings.ReplaceAll(key, "-", " ")
			if value == "1" {
				part = strings.TrimSuffix(part, "s")
			}
		}
		parts = append(parts, strings.ReplaceAll(part, "_", " "))
	}
	return strings.Join(parts, ", ")
}

// number formats with three significant digits.
func number(v float64) string {
	if math.Abs(v) >= 100 {
		return strconv.FormatFloat(math.Round(v), 'f', -1, 64)
	}
	digits := 2
	if math.Abs(v) >= 10 {
		digits = 1
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

func markdown(head []string, rows [][]string) string {
	var b strings.Builder
	write := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	write(head)
	write(slices.Repeat([]string{"---"}, len(head)))
	for _, row := range rows {
		write(row)
	}
	return b.String()
}

// The marks around a table in the page.
const (
	opening = "<!-- bench "
	closing = "<!-- end -->"
)

// fill puts the tables of a run into the page. long: the run was a long one; the tables of the other kind stay as they are. It
// returns an error if the page names an unknown table or leaves one out.
func fill(page string, f figures, long bool) (string, error) {
	texts, stay := f.render(), f.renderLong()
	if long {
		texts, stay = stay, texts
	}
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(page, opening)
		out.WriteString(before)
		if !ok {
			break
		}
		name, rest, ok := strings.Cut(rest, " -->\n")
		text, known := texts[name]
		_, stays := stay[name]
		if !ok || !known && !stays {
			return "", fmt.Errorf("no table is called %q", name)
		}
		delete(texts, name)
		now, after, ok := strings.Cut(rest, closing)
		if !ok {
			return "", fmt.Errorf("table %s: no %s", name, closing)
		}
		if stays {
			text = now
		}
		fmt.Fprintf(&out, "%s%s -->\n%s%s", opening, name, text, closing)
		page = after
	}
	for name := range texts {
		return "", fmt.Errorf("there is no place for table %s: want %s%s --> and %s", name, opening, name, closing)
	}
	return out.String(), nil
}
