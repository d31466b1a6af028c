package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
)

// clerk is a daemon that answers calls for people.
type clerk struct {
	ckptdv1connect.UnimplementedJobServiceHandler
	url string
	// refuses is the answer to every call; nil: it is the owner.
	refuses error
	asked   atomic.Int64
	// request is the id of the last trigger.
	request atomic.Value
}

func startClerk(t *testing.T) *clerk {
	t.Helper()
	c := &clerk{}
	_, handler := ckptdv1connect.NewJobServiceHandler(c)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *clerk) GetStatus(_ context.Context, r *ckptdv1.GetStatusRequest) (*ckptdv1.GetStatusResponse, error) {
	c.asked.Add(1)
	return &ckptdv1.GetStatusResponse{Urls: []string{c.url}, Version: fmt.Sprint(r.GetJobId(), r.GetEventsAfter())}, c.refuses
}

func (c *clerk) TriggerCheckpoint(_ context.Context, r *ckptdv1.TriggerCheckpointRequest) (*ckptdv1.TriggerCheckpointResponse, error) {
	c.asked.Add(1)
	c.request.Store(r.GetRequestId())
	return &ckptdv1.TriggerCheckpointResponse{}, c.refuses
}

// pointsTo makes the clerk say that the owner is another.
func (c *clerk) pointsTo(urls ...string) {
	c.refuses = refusal(connect.CodeFailedPrecondition, &ckptdv1.NotOwner{OwnerUrls: urls, Epoch: 2})
}

func adminOf(t *testing.T, urls ...string) *Admin {
	t.Helper()
	c, err := New(urls)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.Admin()
}

// A call about a job goes to the owner that a daemon names, before any other daemon, with the request id that it had.
func TestAdminFollowsTheOwner(t *testing.T) {
	first, owner, bystander := startClerk(t), startClerk(t), startClerk(t)
	first.pointsTo(owner.url)
	a := adminOf(t, first.url, bystander.url)
	res, err := a.JobStatus(t.Context(), "job", 7)
	if err != nil || res.URLs[0] != owner.url || res.Version != "job7" {
		t.Errorf("answered %v, %v; want the owner's answer to job, 7", res, err)
	}
	if _, err := a.Trigger(t.Context(), "job"); err != nil || owner.request.Load() == "" || owner.request.Load() != first.request.Load() {
		t.Errorf("%v; request ids %v and %v, want the same one at both", err, first.request.Load(), owner.request.Load())
	}
	if n := bystander.asked.Load(); n != 0 {
		t.Errorf("another daemon was asked %d times, want never", n)
	}
}

// Three redirects are followed, no more.
func TestAdminFollowsThreeRedirects(t *testing.T) {
	a, b := startClerk(t), startClerk(t)
	a.pointsTo(b.url)
	b.pointsTo(a.url)
	_, err := adminOf(t, a.url).JobStatus(t.Context(), "job", 0)
	if n := a.asked.Load() + b.asked.Load(); n != 4 || !errors.Is(err, ErrNotOwner) {
		t.Errorf("%d calls, %v; want 4 and ErrNotOwner", n, err)
	}
}

// Admin asks the first daemon that answers. If no daemon answers, the error names the address of the last one.
func TestAdminAsksWhoAnswers(t *testing.T) {
	there := startClerk(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	if res, err := adminOf(t, gone.URL, there.url).Status(t.Context()); err != nil || res.URLs[0] != there.url {
		t.Errorf("answered %v, %v; want the answer of the daemon that is there", res, err)
	}
	_, err := adminOf(t, gone.URL).Status(t.Context())
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no daemon answers at "+gone.URL) {
		t.Errorf("%v; want ErrUnavailable and the address", err)
	}
}

// The error of a refusal has the daemon's text, its meaning and the status of a job that has ended. Admin asks no other
// daemon.
func TestAdminTellsRefusals(t *testing.T) {
	first, second := startClerk(t), startClerk(t)
	first.refuses = refusal(connect.CodeFailedPrecondition, &ckptdv1.Refused{
		Reason: ckptdv1.Refused_REASON_JOB_TERMINAL, Status: ckptdv1.JobStatus_JOB_STATUS_FINISHED,
	})
	_, err := adminOf(t, first.url, second.url).Trigger(t.Context(), "job")
	if !errors.Is(err, ErrJobTerminal) || err.Error() != first.refuses.Error() || second.asked.Load() != 0 {
		t.Errorf("%v, %d calls of the second; want ErrJobTerminal with the text %q, and none", err, second.asked.Load(), first.refuses)
	}
	if s := EndedWith(err); s != StatusFinished {
		t.Errorf("ended with %v, want FINISHED", s)
	}
	if s := EndedWith(errors.New("another")); s != 0 {
		t.Errorf("another error ended with %v, want none", s)
	}
	// A daemon that answers that it is not available is one that answers.
	first.refuses = connect.NewError(connect.CodeUnavailable, errors.New("the store does not answer"))
	if _, err := adminOf(t, first.url).Status(t.Context()); !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "no daemon answers") {
		t.Errorf("%v; want ErrUnavailable in the daemon's own words", err)
	}
}

// A socket that this user may not use is not a daemon that is not running.
func TestAdminTellsRightsOfTheSocket(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("no right is missing for root")
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	_, err = adminOf(t, "unix:"+path).Status(t.Context())
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "does not let this user connect") || strings.Contains(err.Error(), "is it running") {
		t.Errorf("%v; want the rights as the cause", err)
	}
}
