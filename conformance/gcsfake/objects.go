package gcsfake

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/ckptd/ckptd/crc32c"
)

// holds checks the preconditions of a request on the live object. The lock is held.
func holds(query url.Values, prefix string, live *object) error {
	generation := int64(0)
	if live != nil {
		generation = live.generation
	}
	name := func(of string) string {
		if prefix != "" {
			return "if" + prefix + of
		}
		return "if" + of
	}
	if want := query.Get(name("GenerationMatch")); want != "" && want != strconv.FormatInt(generation, 10) {
		return errPrecondition
	}
	if not := query.Get(name("GenerationNotMatch")); not != "" && not == strconv.FormatInt(generation, 10) {
		return errPrecondition
	}
	if want := query.Get(name("MetagenerationMatch")); want != "" && (live == nil || want != "1") {
		return errPrecondition
	}
	return nil
}

// insert makes an object. Everything is decided under one lock.
func (s *Server) insert(b *bucket, query url.Values, set settings, data []byte) (*object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	live := b.objects[set.Name]
	if err := b.may("storage.objects.create"); err != nil {
		return nil, err
	}
	if live != nil {
		if err := b.may("storage.objects.delete"); err != nil && query.Get("ifGenerationMatch") != "0" {
			return nil, err
		}
	}
	if err := holds(query, "", live); err != nil {
		return nil, err
	}
	if len(set.Name) == 0 || len(set.Name) > 1024 || strings.ContainsAny(set.Name, "\r\n") || set.Name == "." || set.Name == ".." {
		return nil, refuse(http.StatusBadRequest, "invalid", "Invalid object name.")
	}
	sum := crc32c.Sum(data)
	if set.CRC32C != "" && set.CRC32C != encode(sum) {
		return nil, refuse(http.StatusBadRequest, "invalid", "Provided CRC32C %q doesn't match calculated CRC32C %q.", set.CRC32C, encode(sum))
	}
	if hash := md5.Sum(data); set.MD5 != "" && set.MD5 != base64.StdEncoding.EncodeToString(hash[:]) {
		return nil, refuse(http.StatusBadRequest, "invalid", "Provided MD5 hash %q doesn't match.", set.MD5)
	}
	if err := s.change(b, set.Name); err != nil {
		return nil, err
	}
	if live != nil {
		s.retire(b, live)
	}
	if set.StorageClass == "" {
		set.StorageClass = b.StorageClass
	}
	o := &object{name: set.Name, data: data, generation: s.next(), created: s.now(), sum: sum, set: set}
	b.objects[set.Name] = o
	return o, nil
}

// change refuses a second change of one object within a second. The lock is held.
func (s *Server) change(b *bucket, name string) error {
	if now := time.Now(); b.OncePerSecond {
		if now.Sub(b.changed[name]) < time.Second {
			return refuse(http.StatusTooManyRequests, "rateLimitExceeded",
				"The object %s/%s exceeded the rate limit for object mutation operations (create, update, and delete). Please reduce your request rate.", b.name, name)
		}
		b.changed[name] = now
	}
	return nil
}

// retire takes a live object away. The lock is held.
func (s *Server) retire(b *bucket, o *object) {
	delete(b.objects, o.name)
	switch {
	case b.Versioning:
		o.noncurrent = s.now()
		b.old = append(b.old, o)
	case b.SoftDelete > 0:
		o.soft = s.now()
		b.old = append(b.old, o)
	}
}

func encode(sum uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}

// view is an object as the API shows it.
func (o *object) view(b *bucket) map[string]any {
	view := map[string]any{
		"kind": "storage#object", "bucket": b.name, "name": o.name, "id": fmt.Sprintf("%s/%s/%d", b.name, o.name, o.generation),
		"generation": strconv.FormatInt(o.generation, 10), "metageneration": "1", "size": strconv.Itoa(len(o.data)),
		"crc32c": encode(o.sum), "timeCreated": o.created.Format(time.RFC3339Nano), "updated": o.created.Format(time.RFC3339Nano),
		"contentType": o.set.ContentType, "storageClass": o.set.StorageClass, "metadata": o.set.Metadata,
	}
	if o.set.kmsKey != "" {
		view["kmsKeyName"] = o.set.kmsKey + "/cryptoKeyVersions/1"
	}
	if !o.noncurrent.IsZero() {
		view["timeDeleted"] = o.noncurrent.Format(time.RFC3339Nano)
	}
	if !o.soft.IsZero() {
		view["softDeleteTime"], view["hardDeleteTime"] = o.soft.Format(time.RFC3339Nano), o.soft.Add(b.SoftDelete).Format(time.RFC3339Nano)
	}
	return view
}

// find finds a live object, or the asked generation. The lock is held.
func (b *bucket) find(query url.Values, name string) (*object, error) {
	live := b.objects[name]
	if want := query.Get("generation"); want != "" {
		all := b.old
		if live != nil {
			all = append(slices.Clone(all), live)
		}
		for _, o := range all {
			if o.name == name && o.soft.IsZero() && strconv.FormatInt(o.generation, 10) == want {
				return o, nil
			}
		}
		live = nil
	}
	if live == nil {
		return nil, refuse(http.StatusNotFound, "notFound", "No such object: %s/%s", b.name, name)
	}
	return live, nil
}

func (s *Server) get(r *http.Request, b *bucket, name string) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := b.may("storage.objects.get"); err != nil {
		return nil, err
	}
	o, err := b.find(r.URL.Query(), name)
	if err != nil {
		return nil, err
	}
	if err := holds(r.URL.Query(), "", o); err != nil {
		return nil, err
	}
	return o.view(b), nil
}

func (s *Server) download(w http.ResponseWriter, r *http.Request, b *bucket, name string) error {
	s.mu.Lock()
	err := b.may("storage.objects.get")
	var o *object
	if err == nil {
		o, err = b.find(r.URL.Query(), name)
	}
	if err == nil {
		err = holds(r.URL.Query(), "", o)
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	w.Header().Set("X-Goog-Generation", strconv.FormatInt(o.generation, 10))
	w.Header().Set("X-Goog-Metageneration", "1")
	w.Header().Set("X-Goog-Hash", "crc32c="+encode(o.sum))
	w.Header().Set("Content-Type", o.set.ContentType)
	http.ServeContent(w, r, "", o.created, bytes.NewReader(o.data))
	return nil
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request, b *bucket, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := b.may("storage.objects.delete"); err != nil {
		return err
	}
	o, err := b.find(r.URL.Query(), name)
	if err != nil {
		return err
	}
	if err := holds(r.URL.Query(), "", o); err != nil {
		return err
	}
	if b.EventHold {
		return refuse(http.StatusForbidden, "forbidden", "Object '%s/%s' is under active Event-Based hold and cannot be deleted, overwritten or archived until hold is removed.", b.name, name)
	}
	if until := o.created.Add(b.Retention); b.Retention > 0 && s.now().Before(until) {
		return refuse(http.StatusForbidden, "retentionPolicyNotMet",
			"Object '%s/%s' is subject to bucket's retention policy or object retention and cannot be deleted or overwritten until %s", b.name, name, until.Format(time.RFC3339))
	}
	if err := s.change(b, name); err != nil {
		return err
	}
	if !o.noncurrent.IsZero() { // a version that is named goes, or is soft-deleted
		b.old = slices.DeleteFunc(b.old, func(other *object) bool { return other == o })
		if b.SoftDelete > 0 {
			o.soft = s.now()
			b.old = append(b.old, o)
		}
	} else {
		s.retire(b, o)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) list(r *http.Request, b *bucket) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := b.may("storage.objects.list"); err != nil {
		return nil, err
	}
	query := r.URL.Query()
	var all []*object
	switch {
	case query.Get("softDeleted") == "true":
		for _, o := range b.old {
			if !o.soft.IsZero() {
				all = append(all, o)
			}
		}
	default:
		for _, o := range b.objects {
			all = append(all, o)
		}
		for _, o := range b.old {
			if query.Get("versions") == "true" && o.soft.IsZero() {
				all = append(all, o)
			}
		}
	}
	sort.Slice(all, func(i, j int) bool {
		return all[i].name < all[j].name || all[i].name == all[j].name && all[i].generation < all[j].generation
	})
	size := b.PageSize
	if n, err := strconv.Atoi(query.Get("maxResults")); err == nil && n > 0 {
		size = min(size, n)
	}
	items, prefixes, last := []any{}, []string{}, ""
	after, err := base64.URLEncoding.DecodeString(query.Get("pageToken"))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "invalid", "Invalid page token.")
	}
	reply := map[string]any{"kind": "storage#objects"}
	for _, o := range all {
		rest, ok := strings.CutPrefix(o.name, query.Get("prefix"))
		place := fmt.Sprintf("%s\x00%020d", o.name, o.generation)
		folder := ""
		if delimiter := query.Get("delimiter"); ok && delimiter != "" {
			if first, _, found := strings.Cut(rest, delimiter); found {
				folder = query.Get("prefix") + first + delimiter
				place = folder + "\xff"
			}
		}
		if !ok || place <= string(after) || folder != "" && slices.Contains(prefixes, folder) {
			continue
		}
		if len(items)+len(prefixes) == size {
			reply["nextPageToken"] = base64.URLEncoding.EncodeToString([]byte(last))
			break
		}
		last = place
		if folder != "" {
			prefixes = append(prefixes, folder)
		} else {
			items = append(items, o.view(b))
		}
	}
	if len(items) > 0 {
		reply["items"] = items
	}
	if len(prefixes) > 0 {
		reply["prefixes"] = prefixes
	}
	return reply, nil
}

// rewrite copies an object, in several calls if it is large.
func (s *Server) rewrite(r *http.Request, from *bucket, name, toBucket, toName string) (any, error) {
	s.mu.Lock()
	query, to := r.URL.Query(), s.buckets[toBucket]
	err := from.may("storage.objects.get")
	var source *object
	if err == nil {
		source, err = from.find(url.Values{"generation": query["sourceGeneration"]}, name)
	}
	if err == nil {
		err = holds(query, "Source", source)
	}
	if err == nil && to == nil {
		err = refuse(http.StatusNotFound, "notFound", "The specified bucket does not exist.")
	}
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	size, done := int64(len(source.data)), int64(0)
	given := query.Get("rewriteToken")
	if done, err = s.rewrites[given], nil; given != "" && done == 0 {
		err = refuse(http.StatusBadRequest, "invalid", "Invalid rewrite token.")
	}
	if err == nil {
		err = holds(query, "", to.objects[toName])
	}
	if from.RewriteBytes == 0 {
		done = size
	} else {
		done = min(size, done+from.RewriteBytes)
	}
	progress := map[string]any{"kind": "storage#rewriteResponse", "objectSize": strconv.FormatInt(size, 10), "totalBytesRewritten": strconv.FormatInt(done, 10), "done": done == size}
	if err == nil && done < size {
		delete(s.rewrites, given)
		next := token()
		s.rewrites[next], progress["rewriteToken"] = done, next
	}
	s.mu.Unlock()
	if err != nil || done < size {
		return progress, err
	}
	set, err := readSettings(r.Body)
	if err != nil {
		return nil, err
	}
	if set.Metadata == nil && set.ContentType == "" {
		set = source.set
	}
	set.Name, set.CRC32C, set.MD5 = toName, "", ""
	set.kmsKey = query.Get("destinationKmsKeyName")
	made, err := s.insert(to, query, set, source.data)
	if err != nil {
		return nil, err
	}
	progress["resource"] = made.view(to)
	return progress, nil
}
