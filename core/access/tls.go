package access

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/sdk"
)

// TLSFiles are paths of files in PEM.
type TLSFiles struct {
	Certificate, Key string
	// ClientCA is empty where clients need no certificate.
	ClientCA string
}

// keyring makes the configuration of TLS from files, and makes it anew when one
// of them has changed: certificates are renewed under a host that runs.
type keyring struct {
	files  TLSFiles
	logger hclog.Logger

	mu      sync.Mutex
	current *tls.Config
	// seen are the files as they were last read, rightly or not.
	seen [3]os.FileInfo
}

// NewTLS returns the configuration for a server. A renewal that cannot be used
// is logged, and what was read before stays in use.
func NewTLS(files TLSFiles, logger hclog.Logger) (*tls.Config, error) {
	k := &keyring{files: files, logger: logger}
	k.changed()
	var err error
	if k.current, err = k.read(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         k.current.NextProtos,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return k.latest(), nil },
	}, nil
}

func (k *keyring) latest() *tls.Config {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.changed() {
		return k.current
	}
	renewed, err := k.read()
	if err != nil {
		k.logger.Error("the certificates have changed and cannot be used; the old ones stay in use", "error", err, "hint", sdk.HintOf(err))
		return k.current
	}
	k.logger.Info("certificates read again", "certificate", k.files.Certificate)
	k.current = renewed
	return renewed
}

// changed says whether the files are others than when it was last called.
func (k *keyring) changed() bool {
	changed := false
	for i, path := range []string{k.files.Certificate, k.files.Key, k.files.ClientCA} {
		info, err := os.Stat(path)
		if path == "" || err != nil {
			continue // being replaced perhaps
		}
		before := k.seen[i]
		if before == nil || !os.SameFile(before, info) || !before.ModTime().Equal(info.ModTime()) || before.Size() != info.Size() {
			changed = true
		}
		k.seen[i] = info
	}
	return changed
}

func (k *keyring) read() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(k.files.Certificate, k.files.Key)
	if err != nil {
		return nil, sdk.Errorf(sdk.ErrInvalidOption, "load certificate %s and key %s: %w", k.files.Certificate, k.files.Key, err).
			WithHint("both are PEM files that the user who runs wring can read, and belong together")
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	if k.files.ClientCA == "" {
		return c, nil
	}
	content, err := os.ReadFile(k.files.ClientCA)
	c.ClientCAs = x509.NewCertPool()
	if err == nil && !c.ClientCAs.AppendCertsFromPEM(content) {
		err = errors.New("no certificate is in it")
	}
	if err != nil {
		return nil, sdk.Errorf(sdk.ErrInvalidOption, "load client_ca %s: %w", k.files.ClientCA, err).
			WithHint("it is a PEM file with the certificates of the authorities whose clients are let in")
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}

// Check says what is wrong with the files.
func (f TLSFiles) Check() error {
	if _, err := (&keyring{files: f}).read(); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}
