package rows

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestRowsComeBack(t *testing.T) {
	for _, row := range []Row{
		{}, {"a": int64(1), "b": "x", "c": nil, "d": true, "e": 1.5, "f": []any{int64(1), Row{"g": false}}, "h": Row{}},
		{"least": int64(math.MinInt64), "most": int64(math.MaxInt64), "small": 1e-300, "": []any{}},
	} {
		b, err := Codec{}.Append(nil, row)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := (Codec{}).Decode(b); err != nil || !reflect.DeepEqual(got, row) {
			t.Errorf("%v became %s, then %v, %v", row, b, got, err)
		}
	}
	values := []any{nil, int64(3), "x"}
	b, err := Values{}.Append(nil, values)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := (Values{}).Decode(b); err != nil || !reflect.DeepEqual(got, values) {
		t.Errorf("%v became %v, %v", values, got, err)
	}
}

func TestWhatIsNoRow(t *testing.T) {
	for text, want := range map[string]string{
		"": "EOF", "1": "no JSON object", "[]": "no JSON object", `{"a":1`: "EOF", `{"a":1} {}`: "something follows", `{"a":1,"a":2}`: "duplicate",
		`{"a":1e999}`: "out of range", "a,b": "invalid character",
	} {
		if got, err := (Codec{}).Decode([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %v, %v; want an error with %q", text, got, err, want)
		}
	}
	if _, err := (Codec{}).Append(nil, Row{"a": math.Inf(1)}); err == nil {
		t.Error("infinity became JSON")
	}
}

func TestNumbers(t *testing.T) {
	for text, want := range map[string]any{"1": int64(1), "-0": int64(0), "1.0": 1.0, "1e2": 100.0, "9223372036854775808": 9223372036854775808.0} {
		if got, err := Value([]byte(text)); err != nil || got != want {
			t.Errorf("%s is %v (%T), %v; want %v", text, got, got, err, want)
		}
	}
}
