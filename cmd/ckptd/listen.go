package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ckptd/ckptd/cmd/ckptd/exit"
	"github.com/ckptd/ckptd/cmd/ckptd/output"
	"github.com/ckptd/ckptd/proto/address"
	"github.com/ckptd/ckptd/service/stream"
)

// checkListen refuses an address that nobody can listen on, before anything is created. An address that is invalid on
// every machine is a usage error. exposed reports whether other machines can reach the address.
func checkListen(ctx context.Context, addr string) (exposed bool, err error) {
	if path, unix := address.UnixPath(addr); unix {
		return false, checkSocketPath(path)
	}
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = net.DefaultResolver.LookupPort(ctx, "tcp", port)
	}
	if err != nil {
		return false, exit.Usagef("--listen %s: want HOST:PORT or unix:PATH, as %s or unix:/run/ckptd.sock", output.Argument(addr), defaultListen)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return false, fmt.Errorf("listen on %s: want an address of this machine, as %s: %w", addr, defaultListen, err)
	}
	at, ok := l.Addr().(*net.TCPAddr)
	return !ok || !at.IP.IsLoopback(), l.Close()
}

func checkSocketPath(path string) error {
	if path == "" {
		return exit.Usagef("--listen unix: without a path: want one, as unix:/run/ckptd.sock")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if len(path) > address.MaxSocketPath {
		return exit.Usagef("--listen unix:%s: the path has %d bytes, at most %d are possible: choose a shorter one, as unix:/run/ckptd.sock",
			path, len(path), address.MaxSocketPath)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("listen on %s: the folder of the socket has to be there: %w", path, err)
	} else if !info.IsDir() {
		return fmt.Errorf("listen on %s: the folder of the socket: %w", path, syscall.ENOTDIR)
	}
	return notAnother(path)
}

// notAnother refuses a path at which something other than a socket lies. Connecting to a file or folder fails with the
// same error as connecting to a dead socket, which listenUnix removes. So the two must be told apart first.
func notAnother(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() == os.ModeSocket {
		return nil // nothing is there, or listen reports the error
	}
	return fmt.Errorf("listen on %s: something that is not a socket is there; ckptd leaves it alone: choose another path by --listen", path)
}

// listen opens the address of --listen, which checkListen has accepted. It returns the URL for clients.
func listen(ctx context.Context, addr string, secure bool, mode socketMode) (net.Listener, string, error) {
	path, unix := address.UnixPath(addr)
	if unix {
		return listenUnix(ctx, path, mode)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, "", fmt.Errorf("listen on %s: the port is in use: stop what listens there, or choose another by --listen: %w", addr, err)
	}
	if err != nil {
		return nil, "", fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, address.TCP(l.Addr().String(), secure).String(), nil
}

// listenUnix opens a socket file. If a socket is there at which nobody answers, a killed daemon has left it, and
// listenUnix removes it. The file gets its rights before it has a name, so that nobody else can connect in between.
func listenUnix(ctx context.Context, path string, mode socketMode) (net.Listener, string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, "", err
	}
	var d net.Dialer
	if c, err := d.DialContext(ctx, "unix", path); err == nil {
		c.Close()
		return nil, "", fmt.Errorf("listen on %s: another process answers there: stop it, or choose another path by --listen: %w", path, syscall.EADDRINUSE)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := notAnother(path); err != nil {
			return nil, "", err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, "", fmt.Errorf("listen on %s: %w", path, err)
		}
	}
	narrow := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), uint32(mode)) }), err)
	}}
	l, err := narrow.Listen(ctx, "unix", path)
	if err != nil {
		return nil, "", fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, fs.FileMode(mode)); err != nil { // the rights that the umask took away
		return nil, "", errors.Join(fmt.Errorf("listen on %s: %w", path, err), l.Close())
	}
	return l, address.Unix(path).String(), nil
}

// newHTTPServer serves HTTP/1.1 and HTTP/2 without TLS on one port: Connect, gRPC and gRPC-Web. A data stream has no
// time limit, because the store or the sender may be slow. Only silence ends a stream.
func newHTTPServer(h http.Handler) *http.Server {
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: h, Protocols: &p, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ConnContext: stream.ConnContext,
	}
}
