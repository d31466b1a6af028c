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
		"a number for a duration": {attach, `{"jobId":"j","config":{"interval":500}}`,
			[]string{`wrong value 500 of config.interval (want a duration in seconds, in quotes, like "0.5s")`, "refused as a whole"}, ""},
		"Flink's spelling of a duration": {attach, `{"config":{"timeout":"10 min"}}`, []string{`wrong value "10 min" of config.timeout`}, ""},
		"a text for a number":            {attach, `{"config":{"numRetained":"many"}}`, []string{`wrong value "many" of config.numRetained (want a whole number from 0 to 4294967295)`}, ""},
		"a negative number":              {attach, `{"plan":{"operators":[{"parallelism":-1}]}}`, []string{`wrong value -1 of plan.operators[0].parallelism`}, ""},
		"a fraction":                     {attach, `{"config":{"numRetained":1.5}}`, []string{`wrong value 1.5 of config.numRetained`}, ""},
		"a text for a truth":             {attach, `{"plan":{"operators":[{"triggered":"true"}]}}`, []string{`wrong value "true" of plan.operators[0].triggered (want true or false`}, ""},
		"an object for a list":           {attach, `{"plan":{"operators":{"id":"a"}}}`, []string{`of plan.operators (want a list`}, ""},
		"a list for an object":           {attach, `{"config":[1]}`, []string{`wrong value [1] of config (want an object`}, ""},
		"a list for a text":              {attach, `{"jobId":["j"]}`, []string{`wrong value ["j"] of jobId (want a text in quotes)`}, ""},
		"a text for a map":               {attach, `{"labels":"x"}`, []string{`wrong value "x" of labels (want an object`}, ""},
		"a number in a map":              {attach, `{"labels":{"team":7}}`, []string{`wrong value 7 of labels["team"] (want a text in quotes)`}, ""},
		"a truth for an enum":            {attach, `{"config":{"mode":true}}`, []string{`wrong value true of config.mode`}, ""},
		"a text for a fraction":          {attach, `{"config":{"restartStrategy":{"exponentialDelay":{"jitterFactor":"much"}}}}`, []string{`wrong value "much" of config.restartStrategy.exponentialDelay.jitterFactor (want a number)`}, ""},
		"no base64":                      {func() proto.Message { return &ckptdv1.PutStateRequest{} }, `{"chunk":"%"}`, []string{`wrong value "%" of chunk (want bytes in base64`}, ""},
		"a long value":                   {attach, `{"jobId":["` + strings.Repeat("x", 100) + `"]}`, []string{"xxx… of jobId"}, strings.Repeat("x", 61)},
		"no JSON":                        {attach, `{`, []string{"AttachJobRequest"}, "unknown"},
		"nothing":                        {attach, ``, []string{"empty", "{}"}, "unknown"},
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
		`{"config":{"numRetained":"3","timeout":"1.5s","restartStrategy":{"exponentialDelay":{"jitterFactor":0,"backoffMultiplier":"2"}}}}`,
		`{"config":{"numRetained":1e1}}`,
	} {
		m := &ckptdv1.AttachJobRequest{}
		if err := strictjson.Unmarshal([]byte(json), m); err != nil {
			t.Errorf("%s is refused: %v, want it taken", json, err)
		}
	}
}
