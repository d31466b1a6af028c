package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/conformance/servers"
	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// fullMinIO starts one where all tests are wanted.
func fullMinIO(t *testing.T) (*servers.S3, aws.Config) {
	t.Helper()
	if os.Getenv("CKPTD_TEST_FULL") == "" {
		t.Skip("not run: CKPTD_TEST_FULL=1 (make test)")
	}
	server := servers.StartS3(t, servers.MinIO, false)
	c, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-east-1"), config.WithBaseEndpoint(server.Endpoint))
	if err != nil {
		t.Fatal(err)
	}
	return server, c
}

// bucketCase is a bucket with certain settings, and doctor's findings about them. The root is named after the case.
type bucketCase struct {
	name       string
	lock       bool
	versioning bool
	retention  bool
	rule       *types.LifecycleRule

	write        bool
	code         int
	check, seen  string
	result       ckptdv1.Result
	versionsLeft bool
}

func (c bucketCase) make(t *testing.T, client *s3.Client) {
	t.Helper()
	ctx, bucket := t.Context(), aws.String(c.name)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket, ObjectLockEnabledForBucket: aws.Bool(c.lock)})
	must(err)
	if c.versioning {
		_, err = client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
			Bucket: bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
		})
		must(err)
	}
	if c.retention {
		_, err = client.PutObjectLockConfiguration(ctx, &s3.PutObjectLockConfigurationInput{
			Bucket: bucket, ObjectLockConfiguration: &types.ObjectLockConfiguration{
				ObjectLockEnabled: types.ObjectLockEnabledEnabled,
				Rule:              &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeGovernance, Days: aws.Int32(1)}},
			},
		})
		must(err)
	}
	if c.rule != nil {
		_, err = client.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{
			Bucket: bucket, LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{*c.rule}},
		})
		must(err)
	}
}

func ruleFor(prefix string, set func(r *types.LifecycleRule)) *types.LifecycleRule {
	r := &types.LifecycleRule{ID: aws.String("old"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: aws.String(prefix)}}
	set(r)
	return r
}

// Doctor reports settings by which a bucket keeps or removes objects by itself, and judges them. It leaves no old
// versions, and writes nothing that it could not remove. serve and demo refuse a bucket that loses files.
func TestDoctorOnBuckets(t *testing.T) {
	t.Parallel()
	server, awsConfig := fullMinIO(t)
	client := s3.NewFromConfig(awsConfig, func(o *s3.Options) { o.UsePathStyle = true })
	expires := func(r *types.LifecycleRule) { r.Expiration = &types.LifecycleExpiration{Days: aws.Int32(30)} }
	noncurrent := func(r *types.LifecycleRule) {
		r.NoncurrentVersionExpiration = &types.NoncurrentVersionExpiration{NoncurrentDays: aws.Int32(1)}
	}
	const ok, warning, unfit, not = ckptdv1.Result_RESULT_OK, ckptdv1.Result_RESULT_WARNING, ckptdv1.Result_RESULT_UNFIT, ckptdv1.Result_RESULT_NOT_EXAMINED
	for _, c := range []bucketCase{
		{name: "versioned", versioning: true, check: "versioning", seen: "deleted files stay", result: warning},
		{name: "versioned-and-cleared", versioning: true, rule: ruleFor("ck/", noncurrent), check: "versioning", seen: "until a lifecycle rule removes them", result: ok},
		{name: "locked", lock: true, check: "object lock", seen: "without a default retention", result: ok},
		{name: "retained", lock: true, retention: true, code: exit.Failed, check: "writing", seen: "only read", result: not},
		{name: "retained-write", lock: true, retention: true, write: true, check: "object lock", seen: "1 day (GOVERNANCE)", result: warning, versionsLeft: true},
		{name: "expires", rule: ruleFor("ck/", expires), code: exit.Damage, check: "lifecycle rules", seen: `rule "old" deletes`, result: unfit},
		{name: "expires-others", rule: ruleFor("logs/", expires), check: "lifecycle rules", seen: "none that touch the prefix", result: ok},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.make(t, client)
			root := strings.Replace(server.URL("ck", ""), servers.Bucket, c.name, 1)
			args := []string{root}
			if c.write {
				args = append(args, "--write")
			}
			r, code, said := runDoctor(t, args...)
			f := findingOf(r, c.check)
			if code != c.code || f.GetResult() != c.result || !strings.Contains(f.GetSeen(), c.seen) || (c.result != ok) != (f.GetAdvice() != "") {
				t.Errorf("exit code %d, %v\n%s\n%s", code, f, protojson.Format(r), said)
			}
			left := versionsOf(t, client, c.name)
			if (left > 0) != c.versionsLeft || (findingOf(r, "left behind") != nil) != c.versionsLeft {
				t.Errorf("%d versions left, said: %v", left, findingOf(r, "left behind"))
			}
			if c.code != exit.Damage {
				return
			}
			for _, args := range [][]string{
				{"serve", "--root", root, "--listen", "unix:" + filepath.Join(t.TempDir(), "s")}, {"demo", "--root", root, "--records", "100", "--kills", "0"},
			} {
				out, code := runProcess(nil, args...)
				if code != exit.Damage || !strings.Contains(out, c.seen) || !strings.Contains(out, "Take the prefix out of that rule") {
					t.Errorf("%s: exit code %d\n%s", args[0], code, out)
				}
			}
			if left := versionsOf(t, client, c.name); left > 0 {
				t.Errorf("serve or demo left %d objects", left)
			}
		})
	}
}

func versionsOf(t *testing.T, client *s3.Client, bucket string) int {
	t.Helper()
	page, err := client.ListObjectVersions(context.WithoutCancel(t.Context()), &s3.ListObjectVersionsInput{Bucket: aws.String(bucket)})
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Versions) + len(page.DeleteMarkers)
}

// Rules that the test servers do not take, as Amazon would answer; and servers that do not answer.
func TestDoctorOnLifecycleAnswers(t *testing.T) {
	t.Parallel()
	server := servers.StartS3(t, servers.Gofakes3, false)
	const rule = `<LifecycleConfiguration><Rule><ID>it</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>%s</Rule></LifecycleConfiguration>`
	transition := func(class string) string {
		return fmt.Sprintf(rule, "<Transition><Days>30</Days><StorageClass>"+class+"</StorageClass></Transition>")
	}
	for _, c := range []struct {
		name, body string
		status     int
		code       int
		result     ckptdv1.Result
		seen       string
		advice     string
	}{
		{"aborts uploads", fmt.Sprintf(rule, "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>"),
			200, exit.Done, ckptdv1.Result_RESULT_OK, "none that touch", ""},
		{"archives", transition("GLACIER"), 200, exit.Damage, ckptdv1.Result_RESULT_UNFIT, "into GLACIER", "Take the prefix out"},
		{"moves", transition("STANDARD_IA"), 200, exit.Done, ckptdv1.Result_RESULT_WARNING, "into STANDARD_IA", "Take the prefix out"},
		{"does not know", `<Error><Code>NotImplemented</Code></Error>`, 501, exit.Done, ckptdv1.Result_RESULT_NOT_EXAMINED, "no answer to that (status 501)", "Ask whoever runs"},
		{"denies", `<Error><Code>AccessDenied</Code></Error>`, 403, exit.Done, ckptdv1.Result_RESULT_NOT_EXAMINED, "s3:GetLifecycleConfiguration is not allowed", "Give whoever runs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			endpoint := before(t, server, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
				if !r.URL.Query().Has("lifecycle") {
					forward.ServeHTTP(w, r)
					return
				}
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			})
			r, code, said := runDoctor(t, server.URLAt(endpoint, "some/prefix", ""))
			f := findingOf(r, "lifecycle rules")
			if code != c.code || f.GetResult() != c.result || !strings.Contains(f.GetSeen(), c.seen) || !strings.HasPrefix(f.GetAdvice(), c.advice) || (c.advice == "") != (f.GetAdvice() == "") {
				t.Errorf("exit code %d, %v\n%s\n%s", code, f, protojson.Format(r), said)
			}
		})
	}
}

// A policy is what an IAM document says.
type policy struct {
	Version   string
	Statement []statement
}

type statement struct {
	Effect    string
	Action    []string
	Resource  string
	Condition map[string]map[string][]string `json:",omitempty"`
}

// documentedPolicy is the one in docs/stores.md, for the bucket of the test servers.
func documentedPolicy(t *testing.T) policy {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "stores.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile("(?s)```json\n(.*?)```").FindSubmatch(page)
	if text == nil {
		t.Fatal("docs/stores.md has no policy")
	}
	var p policy
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(text[1]), "my-bucket", servers.Bucket)), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// without is the policy without one action.
func (p policy) without(action string) policy {
	all := p.Statement
	p.Statement = nil
	for _, s := range all {
		var actions []string
		for _, a := range s.Action {
			if a != action {
				actions = append(actions, a)
			}
		}
		if s.Action = actions; len(actions) > 0 {
			p.Statement = append(p.Statement, s)
		}
	}
	return p
}

func (p policy) actions() (all []string) {
	for _, s := range p.Statement {
		all = append(all, s.Action...)
	}
	return all
}

// The policy in docs/stores.md is enough for doctor, serve and demo. It is also the least: if an action is missing,
// doctor names the action. A user who may only read is told so.
func TestDocumentedPolicy(t *testing.T) {
	t.Parallel()
	server, awsConfig := fullMinIO(t)
	service := sts.NewFromConfig(awsConfig)
	whole := documentedPolicy(t)
	as := func(t *testing.T, p policy) (env []string) {
		t.Helper()
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var out *sts.AssumeRoleOutput
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			out, err = service.AssumeRole(t.Context(), &sts.AssumeRoleInput{
				RoleArn: aws.String("arn:aws:iam::minio:role/any"), RoleSessionName: aws.String("test"), Policy: aws.String(string(text)),
			})
			if err == nil || !strings.Contains(err.Error(), "not initialized") || time.Now().After(end) {
				break // its accounts are ready a little later than its objects
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return []string{
			"AWS_ACCESS_KEY_ID=" + *out.Credentials.AccessKeyId, "AWS_SECRET_ACCESS_KEY=" + *out.Credentials.SecretAccessKey,
			"AWS_SESSION_TOKEN=" + *out.Credentials.SessionToken,
		}
	}
	root := server.URL("ckptd", "")
	t.Run("whole", func(t *testing.T) {
		env := as(t, whole)
		r, code, said := doctorProcess(t, env, root)
		if code != exit.Done || !strings.Contains(findingOf(r, "lifecycle rules").GetSeen(), "s3:GetLifecycleConfiguration is not allowed") {
			t.Errorf("exit code %d: %s\n%s", code, protojson.Format(r), said)
		}
		if out, code := runProcess(env, "demo", "--root", root, "--records", "4000", "--kills", "0"); code != exit.Done || !strings.Contains(out, "exact: ") {
			t.Errorf("demo: exit code %d\n%s", code, out)
		}
	})
	if len(whole.actions()) < 6 {
		t.Fatalf("actions %v", whole.actions())
	}
	for _, action := range whole.actions() {
		t.Run("without "+action, func(t *testing.T) {
			t.Parallel()
			r, code, said := doctorProcess(t, as(t, whole.without(action)), root)
			named := ""
			for _, f := range r.GetFindings() {
				if f.GetResult() == ckptdv1.Result_RESULT_UNFIT || f.GetCheck() == "open" {
					named += f.GetAdvice() + "\n"
				}
			}
			if want := map[bool]int{true: exit.Failed, false: exit.Damage}[action == "s3:ListBucket"]; code != want || !strings.Contains(named, action) {
				t.Errorf("exit code %d, want %d; %q\n%s\n%s", code, want, named, protojson.Format(r), said)
			}
		})
	}
	t.Run("only to look", func(t *testing.T) {
		t.Parallel()
		env := as(t, whole.without("s3:PutObject").without("s3:DeleteObject").without("s3:AbortMultipartUpload").without("s3:ListBucketMultipartUploads"))
		r, code, said := doctorProcess(t, env, root)
		if f := findingOf(r, "publish"); code != exit.Damage || !strings.Contains(f.GetAdvice(), "s3:PutObject") {
			t.Errorf("exit code %d: %s\n%s", code, protojson.Format(r), said)
		}
		if out, code := runProcess(env, "ls", root); code != exit.Done {
			t.Errorf("ls: exit code %d\n%s", code, out)
		}
	})
}
