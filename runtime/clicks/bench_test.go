package clicks

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/runtime/state"
)

// BenchmarkNext is the cost of a source for each record.
func BenchmarkNext(b *testing.B) {
	var json, access strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&json, `{"user": "user-%d", "logged_in": %v}`+"\n", i%1000, i%10 != 0)
		fmt.Fprintf(&access, `10.0.%d.%d - - [17/May/2015:10:05:03 +0000] "GET /images/kibana-search.png HTTP/1.1" 200 203023 "http://example.org/presentations/" "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/32.0.1700.77 Safari/537.36"`+"\n", i%256, i%100)
	}
	for name, o := range map[string]Options{
		"json":      {Input: input(b, json.String())},
		"access":    {Input: input(b, access.String())},
		"generated": {Records: 1 << 60},
		"limited":   {Records: 1 << 60, Rate: 1e12},
	} {
		b.Run(name, func(b *testing.B) {
			s := open(b, o)
			begin := s.Position()
			var rec state.Record
			for b.Loop() {
				ready, err := s.Next(&rec)
				if ready == state.End {
					err = s.Seek(begin)
				}
				check(b, err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
