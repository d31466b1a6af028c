package access

import (
	"crypto/tls"
	"fmt"
	"log/slog"

	"github.com/ckptd/ckptd/proto/address"
	"github.com/ckptd/ckptd/proto/freshfile"
)

// TLSFiles name the files of a daemon's TLS.
type TLSFiles struct {
	// Cert and Key are the daemon's certificate with its chain, and the key, as PEM.
	Cert, Key string
	// ClientCA holds the authorities of client certificates, as PEM; empty: no client certificate is taken.
	ClientCA string
}

// ServerTLS makes the TLS configuration of a daemon. The files are read again when they change, for each new
// connection. While files do not fit each other, the ones before stay in use, and the log says so once.
func ServerTLS(f TLSFiles, log *slog.Logger) (*tls.Config, error) {
	paths := []string{f.Cert, f.Key}
	if f.ClientCA != "" {
		paths = append(paths, f.ClientCA)
	}
	files, err := freshfile.Open(parseTLS, paths...)
	if err != nil {
		return nil, fmt.Errorf("TLS with the certificate %s and the key %s: %w", f.Cert, f.Key, err)
	}
	return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		cfg, err := files.Get()
		if err != nil {
			log.Error("the TLS files have changed and cannot be used: the files before the change stay in use", "cert", f.Cert, "key", f.Key, "error", err)
		}
		return cfg, nil
	}}, nil
}

func parseTLS(contents [][]byte) (*tls.Config, error) {
	pair, err := address.ParsePair(contents[0], contents[1])
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{*pair}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
	if len(contents) > 2 {
		if cfg.ClientCAs, err = address.ParsePool(contents[2]); err != nil {
			return nil, fmt.Errorf("client CA: %w", err)
		}
		cfg.ClientAuth = tls.VerifyClientCertIfGiven // those with a token have no certificate
	}
	return cfg, nil
}
