package postgres

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/ckptd/ckptd/runtime/state"
)

// benchKeys is the number of different rows that the benchmarks write.
const benchKeys = 100_000

// BenchmarkRows writes rows to a real server: by a bare COPY of lines that are made already, by COPY through the sink,
// from JSON and with a checkpoint every million rows, and by key. An operation is a million rows.
func BenchmarkRows(b *testing.B) {
	p := newPlace(b, server(b))
	rows, lines := make([]state.Record, benchKeys), make([][]byte, benchKeys)
	for i := range rows {
		rows[i] = state.Record{Value: fmt.Appendf(nil, `{"n":%d,"s":"user %d"}`, i, i)}
		lines[i] = fmt.Appendf(nil, "%d\tuser %d\n", i, i)
	}
	all := bytes.Join(lines, nil)
	b.Run("bare copy", func(b *testing.B) {
		p.exec(b, "TRUNCATE "+p.options.Table)
		for b.Loop() {
			var readers []io.Reader
			for range 10 {
				readers = append(readers, bytes.NewReader(all))
			}
			if _, err := p.conn.CopyFrom(b.Context(), io.MultiReader(readers...), "COPY "+p.options.Table+" FROM STDIN"); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)*benchKeys*10/b.Elapsed().Seconds(), "rows/s")
	})
	attempt, checkpoint := uint64(0), uint64(0)
	through := func(b *testing.B, change ...func(*Options)) {
		attempt++
		s := p.begin(b, attempt, 0, nil, change...)
		for b.Loop() {
			for i := range benchKeys * 10 {
				if err := s.Write(rows[i%benchKeys]); err != nil {
					b.Fatal(err)
				}
			}
			checkpoint++
			preCommit(b, s, checkpoint)
			check(b, s.Commit(checkpoint))
		}
		check(b, s.Close())
		b.ReportMetric(float64(b.N)*benchKeys*10/b.Elapsed().Seconds(), "rows/s")
	}
	b.Run("exactly-once", func(b *testing.B) {
		p.exec(b, "TRUNCATE "+p.options.Table)
		through(b)
	})
	b.Run("upsert", func(b *testing.B) {
		p.exec(b, "TRUNCATE "+p.options.Table+"; ALTER TABLE "+p.options.Table+" ADD UNIQUE (n)")
		through(b, func(o *Options) { o.Mode, o.Key = Upsert, []string{"n"} })
	})
	b.Run("decode only", func(b *testing.B) {
		d := newDecoder([]column{{name: "n", field: "n"}, {name: "s", field: "s"}})
		var line []byte
		for b.Loop() {
			for i := range benchKeys * 10 {
				if err := d.decode(rows[i%benchKeys].Value); err != nil {
					b.Fatal(err)
				}
				line = d.appendCopyLine(line[:0])
			}
		}
		b.ReportMetric(float64(b.N)*benchKeys*10/b.Elapsed().Seconds(), "rows/s")
	})
}
