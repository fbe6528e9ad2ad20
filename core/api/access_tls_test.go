package api_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wringdb/wring/core/access"
	"github.com/wringdb/wring/core/api"
	"github.com/wringdb/wring/sdk"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key, a.pem = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore = time.Now().Add(-time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return made, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// pair makes a certificate and its key as PEM.
func (a *authority) pair(name string, usage x509.ExtKeyUsage, until time.Time) (cert, key []byte) {
	a.t.Helper()
	_, private, cert := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotAfter: until,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	})
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// client is one that trusts the authority, and shows a certificate if it has one.
func (a *authority) client(cert, key []byte) *http.Client {
	a.t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	c.RootCAs.AddCert(a.cert)
	if cert != nil {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			a.t.Fatal(err)
		}
		// Whatever the server asks for: a client that means harm has no scruples.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}}
	a.t.Cleanup(client.CloseIdleConnections)
	return client
}

func writeFiles(t *testing.T, files map[string][]byte) {
	t.Helper()
	for path, content := range files {
		// As renewals are put in place.
		if err := os.WriteFile(path+".new", content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
}

// newTLSFort is a fort with a certificate of the authority, for clients with
// certificates of clients, if there is one.
func newTLSFort(t *testing.T, servers, clients *authority) (*fort, access.TLSFiles) {
	t.Helper()
	dir := t.TempDir()
	files := access.TLSFiles{Certificate: filepath.Join(dir, "tls.pem"), Key: filepath.Join(dir, "tls.key")}
	cert, key := servers.pair("wring", x509.ExtKeyUsageServerAuth, time.Time{})
	writeFiles(t, map[string][]byte{files.Certificate: cert, files.Key: key})
	if clients != nil {
		files.ClientCA = filepath.Join(dir, "ca.pem")
		writeFiles(t, map[string][]byte{files.ClientCA: clients.pem})
	}
	f := newFort(t, func(c *access.Config, s *http.Server) {
		secure, err := access.NewTLS(files, c.Logger)
		if err != nil {
			t.Fatal(err)
		}
		s.TLSConfig, c.Certificates = secure, clients != nil
	})
	f.scheme, f.client = "https", servers.client(nil, nil)
	return f, files
}

func TestTokensOverTLS(t *testing.T) {
	servers := newAuthority(t, "servers")
	f, _ := newTLSFort(t, servers, nil)
	token := f.token("reader", access.Read, time.Time{})
	if got := f.ask("GET", "/v1/status", "", "Authorization", bearer(token)); got.status != http.StatusOK {
		t.Errorf("status %d: %s", got.status, got.body)
	}
	if got := f.ask("GET", "/v1/status", ""); got.status != http.StatusUnauthorized {
		t.Errorf("without a token: status %d", got.status)
	}
	got := f.ask("POST", "/v1/session", `{"token":"`+token+`"}`)
	if len(got.cookies) != 1 || !got.cookies[0].Secure || got.cookies[0].Name != "__Host-wring_session" || !got.cookies[0].HttpOnly {
		t.Fatalf("login: status %d, cookies %v", got.status, got.cookies)
	}
	f.secrets = append(f.secrets, got.cookies[0].Value)
	if got := f.session("Cookie", "__Host-wring_session="+got.cookies[0].Value); got.Scope != access.Read {
		t.Errorf("the session is %+v", got)
	}
	if got := f.session("Cookie", "wring_session="+got.cookies[0].Value); got.Scope != "" {
		t.Errorf("by another name, which a site without TLS could set, the session is %+v", got)
	}
	// What is not TLS gets nothing.
	plain, err := http.Get("http://" + f.address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = plain.Body.Close()
	if plain.StatusCode != http.StatusBadRequest {
		t.Errorf("without TLS: status %d", plain.StatusCode)
	}
}

func TestClientCertificates(t *testing.T) {
	servers, clients, strangers := newAuthority(t, "servers"), newAuthority(t, "clients"), newAuthority(t, "strangers")
	f, _ := newTLSFort(t, servers, clients)
	right := servers.client(clients.pair("ana", x509.ExtKeyUsageClientAuth, time.Time{}))
	if got := f.askBy(right, "POST", "/v1/compact", `{"all":true}`); got.status != http.StatusOK {
		t.Errorf("a right certificate: status %d: %s", got.status, got.body)
	}
	f.client = right
	if got := f.session(); got != (api.Session{Authentication: access.Certificate, Scope: access.Operate}) {
		t.Errorf("the session is %+v", got)
	}
	if got := f.ask("POST", "/v1/session", `{"token":"any"}`); got.status != http.StatusOK || len(got.cookies) != 0 {
		t.Errorf("login: status %d, cookies %v: %s", got.status, got.cookies, got.body)
	}
	// A browser shows the certificate whichever site makes it ask.
	for _, headers := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}} {
		if got := f.ask("POST", "/v1/compact", `{"all":true}`, headers...); got.status != http.StatusForbidden {
			t.Errorf("%v: status %d", headers, got.status)
		}
	}
	if got := f.ask("GET", "/v1/status", "", "Host", "evil.example"); got.status != http.StatusMisdirectedRequest {
		t.Errorf("a foreign name: status %d", got.status)
	}
	for name, client := range map[string]*http.Client{
		"no certificate":             servers.client(nil, nil),
		"one of strangers":           servers.client(strangers.pair("ana", x509.ExtKeyUsageClientAuth, time.Time{})),
		"one of the servers":         servers.client(servers.pair("ana", x509.ExtKeyUsageClientAuth, time.Time{})),
		"one that has expired":       servers.client(clients.pair("ana", x509.ExtKeyUsageClientAuth, time.Now().Add(-time.Minute))),
		"one that is for servers":    servers.client(clients.pair("ana", x509.ExtKeyUsageServerAuth, time.Time{})),
		"no certificate but a token": tokenClient(servers.client(nil, nil), f.token("operator", access.Operate, time.Time{})),
	} {
		response, err := client.Get("https://" + f.address + "/healthz")
		if err == nil {
			_ = response.Body.Close()
			t.Errorf("%s: status %d", name, response.StatusCode)
		}
	}
	if said := f.log.String(); !strings.Contains(said, `request="POST /v1/compact" certificate=ana`) {
		t.Errorf("the log does not say who compacted:\n%s", said)
	}
}

type withToken struct {
	http.RoundTripper
	token string
}

func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Authorization", bearer(w.token))
	return w.RoundTripper.RoundTrip(r)
}

func tokenClient(c *http.Client, token string) *http.Client {
	return &http.Client{Transport: withToken{c.Transport, token}}
}

func TestCertificatesAreRenewedUnderARunningHost(t *testing.T) {
	servers, clients := newAuthority(t, "servers"), newAuthority(t, "clients")
	f, files := newTLSFort(t, servers, clients)
	shown := func() []byte {
		t.Helper()
		client := servers.client(clients.pair("ana", x509.ExtKeyUsageClientAuth, time.Time{})) // a new connection
		response, err := client.Get("https://" + f.address + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.TLS.PeerCertificates[0].Raw
	}
	raw := func(cert []byte) []byte { block, _ := pem.Decode(cert); return block.Bytes }
	first := shown()
	cert, key := servers.pair("wring", x509.ExtKeyUsageServerAuth, time.Time{})
	writeFiles(t, map[string][]byte{files.Certificate: cert})
	if !bytes.Equal(shown(), first) {
		t.Error("a certificate without its key is shown")
	}
	writeFiles(t, map[string][]byte{files.Key: key})
	if !bytes.Equal(shown(), raw(cert)) {
		t.Error("the renewed certificate is not shown")
	}
	if err := os.Remove(files.Key); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(shown(), raw(cert)) {
		t.Error("without its file the key is not kept")
	}
	writeFiles(t, map[string][]byte{files.Key: key})
	clients = newAuthority(t, "other clients")
	writeFiles(t, map[string][]byte{files.ClientCA: clients.pem})
	shown() // with a certificate of the new authority
}

func TestWrongTLSFiles(t *testing.T) {
	a, dir := newAuthority(t, "servers"), t.TempDir()
	cert, key := a.pair("wring", x509.ExtKeyUsageServerAuth, time.Time{})
	_, otherKey := a.pair("wring", x509.ExtKeyUsageServerAuth, time.Time{})
	path := func(name string) string { return filepath.Join(dir, name) }
	writeFiles(t, map[string][]byte{path("cert"): cert, path("key"): key, path("other"): otherKey, path("ca"): a.pem})
	for name, test := range map[string]struct {
		files access.TLSFiles
		wrong bool
	}{
		"right":            {access.TLSFiles{Certificate: path("cert"), Key: path("key"), ClientCA: path("ca")}, false},
		"no certificate":   {access.TLSFiles{Certificate: path("none"), Key: path("key")}, true},
		"another key":      {access.TLSFiles{Certificate: path("cert"), Key: path("other")}, true},
		"no authority":     {access.TLSFiles{Certificate: path("cert"), Key: path("key"), ClientCA: path("none")}, true},
		"not an authority": {access.TLSFiles{Certificate: path("cert"), Key: path("key"), ClientCA: path("key")}, true},
	} {
		_, err := access.NewTLS(test.files, hclog.NewNullLogger())
		if (err != nil) != test.wrong || (test.files.Check() != nil) != test.wrong {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (sdk.HintOf(err) == "" || strings.Contains(err.Error(), "BEGIN")) {
			t.Errorf("%s: %v, hint %q", name, err, sdk.HintOf(err))
		}
	}
}
