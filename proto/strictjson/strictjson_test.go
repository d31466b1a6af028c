package strictjson_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/strictjson"
)

func TestUnknownWordsAreNamed(t *testing.T) {
	attach := func() proto.Message { return &ckptdv1.AttachJobRequest{} }
	for name, c := range map[string]struct {
		message func() proto.Message
		json    string
		want    []string
		not     string
	}{
		"a misspelt field of a nested message": {attach, `{"jobId":"j","config":{"numRetaned":3}}`,
			[]string{"AttachJobRequest", `unknown field "config.numRetaned"`, `did you mean "numRetained"?`, "refused as a whole"}, ""},
		"a key of Flink": {attach, `{"config":{"execution.checkpointing.interval":"1s"}}`,
			[]string{`unknown field "config.execution.checkpointing.interval"`, `did you mean "interval"?`}, ""},
		"a long key of Flink":       {attach, `{"config":{"execution.checkpointing.externalized-checkpoint-retention":"x"}}`, []string{`did you mean "retention"?`}, ""},
		"a key of Flink at the top": {attach, `{"execution.checkpointing.interval":"1s"}`, []string{`did you mean "config.interval"?`}, ""},
		"a key of a message beside": {attach, `{"config":{"restart-strategy.type":"none"}}`, []string{`did you mean "config.restartStrategy.type"?`}, ""},
		"a field of a list's element": {attach, `{"plan":{"operators":[{"id":"a"},{"paralelism":3}]}}`,
			[]string{`unknown field "plan.operators[1].paralelism"`, `did you mean "parallelism"?`}, ""},
		"a field of a message two levels down": {attach, `{"config":{"restartStrategy":{"atempts":3}}}`,
			[]string{`unknown field "config.restartStrategy.atempts"`, `did you mean "attempts"?`}, ""},
		"a field within a oneof": {func() proto.Message { return &ckptdv1.PutStateRequest{} }, `{"header":{"jobId":"j","checkpoint":7}}`,
			[]string{`unknown field "header.checkpoint"`}, ""},
		"nothing is near": {attach, `{"zzzzzz":null}`, []string{`unknown field "zzzzzz"`}, "did you mean"},
		"more than one":   {attach, `{"jobbId":"j","config":{"intervall":"1s"}}`, []string{`"config.intervall"`, `"interval"`, `"jobbId"`, `"jobId"`}, ""},
		"very many":       {attach, `{"z1":1,"z2":1,"z3":1,"z4":1,"z5":1,"z6":1,"z7":1}`, []string{`"z5"`, "and 2 more"}, `"z6"`},
		"an enum's short name": {attach, `{"config":{"mode":"AT_LEAST_ONCE"}}`,
			[]string{`unknown value "AT_LEAST_ONCE" of config.mode`, `did you mean "CHECKPOINTING_MODE_AT_LEAST_ONCE"?`}, ""},
		"an enum in Flink's words": {attach, `{"config":{"retention":"retain-on-cancelation"}}`, []string{`did you mean "RETENTION_RETAIN_ON_CANCELLATION"?`}, ""},
		"no enum at all":           {attach, `{"config":{"mode":"x"}}`, []string{`want one of CHECKPOINTING_MODE_UNSPECIFIED, `}, ""},
		"another mistake":          {attach, `{"jobId":3}`, []string{"AttachJobRequest", "jobId"}, "unknown"},
		"a bad duration":           {attach, `{"config":{"interval":"soon"}}`, []string{"soon"}, "unknown"},
		"no JSON":                  {attach, `{`, []string{"AttachJobRequest"}, "unknown"},
		"nothing":                  {attach, ``, []string{"empty", "{}"}, "unknown"},
	} {
		err := strictjson.Unmarshal([]byte(c.json), c.message())
		if err == nil {
			t.Errorf("%s: %s is accepted, want it refused", name, c.json)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q, want it to say %q", name, err, want)
			}
		}
		if c.not != "" && strings.Contains(err.Error(), c.not) {
			t.Errorf("%s: %q, want it not to say %q", name, err, c.not)
		}
	}
}

func TestWhatIsKnownIsTaken(t *testing.T) {
	for _, json := range []string{
		`{}`,
		`{"jobId":"j","config":null}`,
		`{"job_id":"j","config":{"min_pause":"1s","timeout":null,"mode":2,"restartStrategy":{"type":"TYPE_NONE"}}}`,
		`{"labels":{"any":"thing","labels":"x"},"plan":{"operators":[]}}`,
	} {
		m := &ckptdv1.AttachJobRequest{}
		if err := strictjson.Unmarshal([]byte(json), m); err != nil {
			t.Errorf("%s is refused: %v, want it taken", json, err)
		}
	}
}
