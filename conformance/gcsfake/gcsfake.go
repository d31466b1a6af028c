// Package gcsfake is a strict server of the JSON API of Google Cloud Storage, for tests, in memory.
//
// It owns what other emulators ignore: preconditions under a race, sums of what was sent, resumable uploads that break,
// rewrites over several calls, versions, soft delete, retention, permissions one by one, one change of an object a
// second. It is written from the API's documentation, and refuses what the documentation does not allow. It must not
// know any driver.
//
// It cannot show what is measured only at Google: latencies, quotas, and when a replica of a bucket in two regions
// has an object.
package gcsfake

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Bucket says how a bucket is set.
type Bucket struct {
	// Versioning keeps noncurrent versions.
	Versioning bool
	// SoftDelete is how long deleted objects are kept; 0: not at all.
	SoftDelete time.Duration
	// Retention is how long an object cannot be deleted after it was made.
	Retention time.Duration
	// EventHold puts each new object under an event-based hold.
	EventHold bool
	// Rules are the lifecycle rules, as the API gives them.
	Rules []map[string]any
	// StorageClass of new objects, if they name none.
	StorageClass string
	// Denied are the permissions that the caller lacks: "storage.objects.delete".
	Denied []string
	// OncePerSecond refuses a second change of an object within a second, as Google does.
	OncePerSecond bool
	// PageSize is the largest page of a list; 0: 1000.
	PageSize int
	// RewriteBytes is how many bytes one call of a rewrite copies; 0: all.
	RewriteBytes int64
}

// A Server serves buckets. It is an http.Handler.
type Server struct {
	// Before, if not nil, sees each request first. If it returns true, it has answered.
	Before func(w http.ResponseWriter, r *http.Request) bool
	// Skew is added to the time of the server's clock.
	Skew time.Duration

	mu         sync.Mutex
	buckets    map[string]*bucket
	sessions   map[string]*session
	rewrites   map[string]int64 // bytes copied so far, by token
	generation int64
}

type bucket struct {
	Bucket
	name    string
	objects map[string]*object // live ones, by name
	old     []*object          // noncurrent and soft-deleted ones
	changed map[string]time.Time
}

type object struct {
	name             string
	data             []byte
	generation       int64
	created          time.Time
	noncurrent, soft time.Time
	sum              uint32
	set              settings
}

// settings are the fields of an object that its writer sets.
type settings struct {
	Name         string            `json:"name"`
	ContentType  string            `json:"contentType"`
	StorageClass string            `json:"storageClass"`
	Metadata     map[string]string `json:"metadata"`
	CRC32C       string            `json:"crc32c"`
	MD5          string            `json:"md5Hash"`
	kmsKey       string
}

// New returns a server with one bucket.
func New(name string, b Bucket) *Server {
	s := &Server{buckets: map[string]*bucket{}, sessions: map[string]*session{}, rewrites: map[string]int64{}, generation: time.Now().UnixMicro()}
	s.Set(name, b)
	return s
}

// Set makes a bucket, or changes the settings of one.
func (s *Server) Set(name string, settings Bucket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if settings.PageSize == 0 {
		settings.PageSize = 1000
	}
	if settings.StorageClass == "" {
		settings.StorageClass = "STANDARD"
	}
	b := s.buckets[name]
	if b == nil {
		b = &bucket{name: name, objects: map[string]*object{}, changed: map[string]time.Time{}}
		s.buckets[name] = b
	}
	b.Bucket = settings
}

// Versions are the numbers of live, noncurrent and soft-deleted objects of a bucket, and of open uploads.
func (s *Server) Versions(name string) (live, noncurrent, soft, uploads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[name]
	for _, o := range b.old {
		if o.soft.IsZero() {
			noncurrent++
		} else {
			soft++
		}
	}
	for _, u := range s.sessions {
		if u.done == nil {
			uploads++
		}
	}
	return len(b.objects), noncurrent, soft, uploads
}

// Corrupt changes a byte of an object, as a broken disk would.
func (s *Server) Corrupt(bucket, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.buckets[bucket].objects[name]; o != nil && len(o.data) > 0 {
		o.data[len(o.data)/2] ^= 1
	}
}

func (s *Server) now() time.Time { return time.Now().Add(s.Skew).UTC() }

// A refusal is an answer of the API that is an error.
type refusal struct {
	status          int
	reason, message string
}

func (r *refusal) Error() string { return r.message }

func refuse(status int, reason, format string, args ...any) error {
	return &refusal{status, reason, fmt.Sprintf(format, args...)}
}

var errPrecondition = refuse(http.StatusPreconditionFailed, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.Before != nil && s.Before(w, r) {
		return
	}
	w.Header().Set("Date", s.now().Format(http.TimeFormat))
	reply, err := s.route(w, r)
	if refused, ok := err.(*refusal); ok {
		answer(w, refused.status, map[string]any{"error": map[string]any{
			"code": refused.status, "message": refused.message,
			"errors": []map[string]any{{"domain": "global", "reason": refused.reason, "message": refused.message}},
		}})
		return
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the request broke off
	}
	if reply != nil {
		answer(w, http.StatusOK, reply)
	}
}

func answer(w http.ResponseWriter, status int, reply any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(reply)
}

// route finds what a request asks for. A nil reply was written already.
func (s *Server) route(w http.ResponseWriter, r *http.Request) (any, error) {
	path, upload := strings.CutPrefix(r.URL.EscapedPath(), "/upload")
	path, ok := strings.CutPrefix(path, "/storage/v1/b/")
	if !ok {
		return nil, refuse(http.StatusNotFound, "notFound", "Not Found")
	}
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		plain, err := url.PathUnescape(part)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "invalid", "bad path")
		}
		parts = append(parts, plain)
	}
	b := s.bucketOf(parts[0])
	if b == nil {
		return nil, refuse(http.StatusNotFound, "notFound", "The specified bucket does not exist.")
	}
	switch n := len(parts); {
	case upload && n == 2 && r.URL.Query().Has("upload_id"):
		return s.chunk(w, r)
	case upload && n == 2 && r.Method == http.MethodPost:
		return s.upload(w, r, b)
	case n == 1 && r.Method == http.MethodGet:
		return s.describe(b)
	case n == 2 && r.Method == http.MethodGet:
		return s.list(r, b)
	case n == 3 && r.Method == http.MethodGet && r.URL.Query().Get("alt") == "media":
		return nil, s.download(w, r, b, parts[2])
	case n == 3 && r.Method == http.MethodGet:
		return s.get(r, b, parts[2])
	case n == 3 && r.Method == http.MethodDelete:
		return nil, s.remove(w, r, b, parts[2])
	case n == 8 && r.Method == http.MethodPost && parts[3] == "rewriteTo":
		return s.rewrite(r, b, parts[2], parts[5], parts[7])
	}
	return nil, refuse(http.StatusMethodNotAllowed, "methodNotAllowed", "%s is not allowed there", r.Method)
}

func (s *Server) bucketOf(name string) *bucket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buckets[name]
}

// may refuses a caller who lacks a permission. The lock is held.
func (b *bucket) may(permission string) error {
	for _, denied := range b.Denied {
		if denied == permission {
			return refuse(http.StatusForbidden, "forbidden", "ckptd@example.test does not have %s access to the Google Cloud Storage bucket.", permission)
		}
	}
	return nil
}

func (s *Server) describe(b *bucket) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := b.may("storage.buckets.get"); err != nil {
		return nil, err
	}
	reply := map[string]any{
		"kind": "storage#bucket", "name": b.name, "location": "EUROPE-WEST3", "locationType": "region", "storageClass": b.StorageClass,
		"metageneration": "1", "timeCreated": s.now().Format(time.RFC3339Nano),
		"versioning":       map[string]any{"enabled": b.Versioning},
		"softDeletePolicy": map[string]any{"retentionDurationSeconds": strconv.Itoa(int(b.SoftDelete.Seconds())), "effectiveTime": s.now().Format(time.RFC3339Nano)},
		"iamConfiguration": map[string]any{"uniformBucketLevelAccess": map[string]any{"enabled": true}},
	}
	if b.Retention > 0 {
		reply["retentionPolicy"] = map[string]any{"retentionPeriod": strconv.Itoa(int(b.Retention.Seconds())), "effectiveTime": s.now().Format(time.RFC3339Nano)}
	}
	if b.EventHold {
		reply["defaultEventBasedHold"] = true
	}
	if len(b.Rules) > 0 {
		reply["lifecycle"] = map[string]any{"rule": b.Rules}
	}
	return reply, nil
}

// next is a new generation. The lock is held.
func (s *Server) next() int64 {
	s.generation++
	return s.generation
}

func token() string { return rand.Text() }
