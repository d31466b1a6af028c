package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ckptd/ckptd/service/stream"
)

// maxSocketPath is how long the path of a Unix socket may be, in bytes: what fits the kernel's structure.
const maxSocketPath = 107

// listen opens what --listen names, "HOST:PORT" or "unix:PATH", and answers the URL under which it is reached.
func listen(ctx context.Context, addr string) (net.Listener, string, error) {
	path, unix := strings.CutPrefix(addr, "unix:")
	if unix {
		return listenUnix(ctx, path)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, "", fmt.Errorf("listen on %s: the port is in use: stop what listens there, or choose another by --listen: %w", addr, err)
	}
	if err != nil {
		return nil, "", fmt.Errorf("listen on %s: want HOST:PORT or unix:PATH: %w", addr, err)
	}
	return l, "http://" + l.Addr().String(), nil
}

// listenUnix opens a socket file. One that nobody answers at is what a killed daemon left: it goes.
func listenUnix(ctx context.Context, path string) (net.Listener, string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, "", err
	}
	if len(path) > maxSocketPath {
		return nil, "", fmt.Errorf("listen on %s: the path has %d bytes, at most %d are possible: choose a shorter one", path, len(path), maxSocketPath)
	}
	var d net.Dialer
	if c, err := d.DialContext(ctx, "unix", path); err == nil {
		c.Close()
		return nil, "", fmt.Errorf("listen on %s: another process answers there: stop it, or choose another path by --listen: %w", path, syscall.EADDRINUSE)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, "", fmt.Errorf("listen on %s: %w", path, err)
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, "", fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, "unix:" + path, nil
}

// newHTTPServer serves HTTP/1.1 and HTTP/2 without TLS on one port: Connect, gRPC and gRPC-Web. Data streams have no time-outs of
// their own: how long one takes is the store's and the sender's.
func newHTTPServer(h http.Handler) *http.Server {
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: h, Protocols: &p, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ConnContext: stream.ConnContext,
	}
}
