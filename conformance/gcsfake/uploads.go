package gcsfake

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// A session is a resumable upload.
type session struct {
	bucket *bucket
	query  url.Values
	set    settings
	data   []byte
	done   *object
}

func readSettings(body io.Reader) (set settings, err error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return set, err
	}
	if len(text) > 0 && json.Unmarshal(text, &set) != nil {
		return set, refuse(http.StatusBadRequest, "parseError", "Parse Error")
	}
	return set, nil
}

// upload begins an upload, or makes an object of a whole one. A body that breaks off makes nothing.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, b *bucket) (any, error) {
	query := r.URL.Query()
	name := func(set *settings) {
		if query.Get("name") != "" {
			set.Name = query.Get("name")
		}
		set.kmsKey = query.Get("kmsKeyName")
	}
	switch query.Get("uploadType") {
	case "multipart":
		set, data, err := readParts(r)
		if err != nil {
			return nil, err
		}
		name(&set)
		o, err := s.insert(b, query, set, data)
		if err != nil {
			return nil, err
		}
		return o.view(b), nil
	case "resumable":
		set, err := readSettings(r.Body)
		if err != nil {
			return nil, err
		}
		name(&set)
		if set.ContentType == "" {
			set.ContentType = r.Header.Get("X-Upload-Content-Type")
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := b.may("storage.objects.create"); err != nil {
			return nil, err
		}
		if err := holds(query, "", b.objects[set.Name]); err != nil {
			return nil, err
		}
		id, scheme := token(), "http"
		if r.TLS != nil {
			scheme = "https"
		}
		s.sessions[id] = &session{bucket: b, query: query, set: set}
		w.Header().Set("Location", fmt.Sprintf("%s://%s%s?uploadType=resumable&upload_id=%s", scheme, r.Host, r.URL.Path, id))
		w.Header().Set("X-GUploader-UploadID", id)
		w.WriteHeader(http.StatusOK)
		return nil, nil
	}
	return nil, refuse(http.StatusBadRequest, "badRequest", "Bad uploadType")
}

// readParts reads a whole body of type multipart/related: the settings, then the bytes.
func readParts(r *http.Request) (set settings, data []byte, err error) {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return set, nil, refuse(http.StatusBadRequest, "badContent", "Bad Content-Type")
	}
	parts := multipart.NewReader(r.Body, params["boundary"])
	first, err := parts.NextPart()
	if err != nil {
		return set, nil, err
	}
	if set, err = readSettings(first); err != nil {
		return set, nil, err
	}
	second, err := parts.NextPart()
	if err != nil {
		return set, nil, err
	}
	if set.ContentType == "" {
		set.ContentType = second.Header.Get("Content-Type")
	}
	if data, err = io.ReadAll(second); err != nil {
		return set, nil, err
	}
	if _, err := parts.NextPart(); err != io.EOF {
		return set, nil, io.ErrUnexpectedEOF
	}
	_, err = io.Copy(io.Discard, r.Body) // the whole request must arrive
	return set, data, err
}

// chunk takes bytes of a resumable upload, or ends it.
func (s *Server) chunk(w http.ResponseWriter, r *http.Request) (any, error) {
	body := make([]byte, max(0, r.ContentLength))
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return nil, err
	}
	s.mu.Lock()
	u := s.sessions[r.URL.Query().Get("upload_id")]
	if u == nil {
		s.mu.Unlock()
		return nil, refuse(http.StatusNotFound, "notFound", "The upload does not exist.")
	}
	if r.Method == http.MethodDelete {
		delete(s.sessions, r.URL.Query().Get("upload_id"))
		s.mu.Unlock()
		w.WriteHeader(499)
		return nil, nil
	}
	if u.done != nil {
		defer s.mu.Unlock()
		return u.done.view(u.bucket), nil
	}
	total, err := u.take(r.Header.Get("Content-Range"), body)
	if err != nil || int64(len(u.data)) != total {
		defer s.mu.Unlock()
		if err == nil {
			if len(u.data) > 0 {
				w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", len(u.data)-1))
			}
			w.Header().Set("X-Http-Status-Code-Override", "308")
			w.WriteHeader(http.StatusOK) // the client has asked for no 308
		}
		return nil, err
	}
	set := u.set
	if sum, ok := strings.CutPrefix(r.Header.Get("X-Goog-Hash"), "crc32c="); ok && set.CRC32C == "" {
		set.CRC32C = sum
	}
	s.mu.Unlock()
	made, err := s.insert(u.bucket, u.query, set, u.data)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u.done = made
	return made.view(u.bucket), nil
}

// take adds a chunk and returns the announced length, or -1. Bytes that were taken before are skipped. The lock is held.
func (u *session) take(contentRange string, body []byte) (total int64, err error) {
	bad := refuse(http.StatusBadRequest, "invalid", "Bad Content-Range %q", contentRange)
	span, of, ok := strings.Cut(strings.TrimPrefix(contentRange, "bytes "), "/")
	if !ok {
		return 0, bad
	}
	total = -1
	if of != "*" {
		if total, err = strconv.ParseInt(of, 10, 64); err != nil {
			return 0, bad
		}
	}
	if span == "*" {
		return total, nil
	}
	var from, to int64
	if _, err := fmt.Sscanf(span, "%d-%d", &from, &to); err != nil || to-from+1 != int64(len(body)) {
		return 0, bad
	}
	have := int64(len(u.data))
	switch {
	case from > have:
		return 0, refuse(http.StatusServiceUnavailable, "backendError", "Bytes from %d are missing.", have)
	case total < 0 && len(body)%(256<<10) != 0:
		return 0, refuse(http.StatusBadRequest, "invalid", "A chunk of %d bytes is not a multiple of 256 KiB.", len(body))
	case to >= have:
		u.data = append(u.data, body[have-from:]...)
	}
	return total, nil
}
