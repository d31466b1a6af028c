package service_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/service/config"
)

// refusalOf is Connect's answer to a refused call in JSON.
type refusalOf struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// post sends a request as a person with curl does, and returns the refusal. The code is empty if the call was accepted.
func (d *daemon) post(t *testing.T, method protoreflect.MethodDescriptor, contentType, body string) (r refusalOf) {
	t.Helper()
	streams := method.IsStreamingClient() || method.IsStreamingServer()
	payload := []byte(body)
	if streams {
		payload = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	}
	url := fmt.Sprintf("%s/%s/%s", d.http.URL, method.Parent().FullName(), method.Name())
	res, err := d.web.Post(url, contentType, bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !streams {
		if res.StatusCode != http.StatusOK {
			if err := json.Unmarshal(answer, &r); err != nil {
				t.Fatalf("%s answers %d, %q", method.Name(), res.StatusCode, answer)
			}
		}
		return r
	}
	var end struct{ Error refusalOf }
	if len(answer) > 5 {
		if err := json.Unmarshal(answer[5:], &end); err != nil {
			t.Fatalf("%s answers %q", method.Name(), answer)
		}
	}
	return end.Error
}

// methods returns all calls of the API.
func methods() (all []protoreflect.MethodDescriptor) {
	for _, file := range []protoreflect.FileDescriptor{ckptdv1.File_ckptd_v1_engine_proto, ckptdv1.File_ckptd_v1_jobs_proto} {
		for i := range file.Services().Len() {
			for k := range file.Services().Get(i).Methods().Len() {
				all = append(all, file.Services().Get(i).Methods().Get(k))
			}
		}
	}
	return all
}

func TestEveryCallRefusesUnknownJSONFields(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	calls := methods()
	if len(calls) < 15 {
		t.Fatalf("%d calls, want all of the API", len(calls))
	}
	for _, m := range calls {
		types := []string{"application/json", "application/json; charset=utf-8"}
		if m.IsStreamingClient() || m.IsStreamingServer() {
			types = []string{"application/connect+json"}
		}
		for _, contentType := range types {
			unchanged(t, root.Store, func() {
				r := d.post(t, m, contentType, `{"noSuchField": 1}`)
				if r.Code != "invalid_argument" || !strings.Contains(r.Message, `unknown field "noSuchField"`) {
					t.Errorf("%s, %s: %+v, want invalid_argument, and the field named", m.FullName(), contentType, r)
				}
			})
		}
	}
}

func TestAMisspeltConfigurationBeginsNoJob(t *testing.T) {
	root := newRoot()
	d := startDaemon(t, root, "")
	attach := ckptdv1.File_ckptd_v1_engine_proto.Services().ByName("EngineService").Methods().ByName("AttachJob")
	request := func(config string) string {
		return `{"jobId": "j", "config": ` + config + `,
			"plan": {"operators": [{"id": "count", "parallelism": 1, "maxParallelism": 128, "triggered": true}]}}`
	}
	for config, words := range map[string][]string{
		`{"numRetaned": 3}`:                          {`"config.numRetaned"`, `did you mean "numRetained"?`},
		`{"execution.checkpointing.interval": "1s"}`: {`"config.execution.checkpointing.interval"`, `did you mean "interval"?`},
		`{"mode": "AT_LEAST_ONCE"}`:                  {`"AT_LEAST_ONCE"`, `"CHECKPOINTING_MODE_AT_LEAST_ONCE"`},
	} {
		unchanged(t, root.Store, func() {
			r := d.post(t, attach, "application/json", request(config))
			if r.Code != "invalid_argument" {
				t.Errorf("%s: %+v, want invalid_argument", config, r)
			}
			for _, w := range words {
				if !strings.Contains(r.Message, w) {
					t.Errorf("%s: %q, want an error that says %s", config, r.Message, w)
				}
			}
		})
	}
	if r := d.post(t, attach, "application/json", request(`{"num_retained": 3, "interval": "3600s"}`)); r.Code != "" {
		t.Errorf("with the right names: %+v, want the job attached", r)
	}
	if j, err := config.Interpret(head(t, root, "j").Config); err != nil || j.NumRetained != 3 {
		t.Errorf("num_retained %d, %v; want 3", j.NumRetained, err)
	}
}

// A newer client in protobuf may send fields that this daemon does not know.
func TestUnknownBinaryFieldsAreAllowed(t *testing.T) {
	d := startDaemon(t, newRoot(), "")
	req := &ckptdv1.AttachJobRequest{JobId: "j", Plan: onePlan()}
	req.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 1000, protowire.VarintType), 1))
	if _, err := d.engineService().AttachJob(t.Context(), req); err != nil {
		t.Errorf("%v, want the unknown field ignored", err)
	}
}
