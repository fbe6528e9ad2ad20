package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wringdb/wring/core/config"
)

// The headers of a webhook's request.
const (
	// HeaderID is the notice's ID, by which one that comes twice is known.
	HeaderID = "Wring-Event-Id"
	// HeaderEvent is the notice's Event.
	HeaderEvent = "Wring-Event"
	// HeaderTimestamp is when the request was made, in seconds since 1970.
	HeaderTimestamp = "Wring-Timestamp"
	// HeaderSignature is "v1=" and what Sign returns.
	HeaderSignature = "Wring-Signature"
)

// Sign is the HMAC-SHA256, in hexadecimal, of the timestamp, a dot and the body.
// Whoever refuses old timestamps cannot be sent an old request again.
func Sign(secret []byte, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// Bounds of what a receiver may answer, in bytes.
const (
	maxAnswer  = 64 << 10
	maxHeaders = 64 << 10
)

// maxRedirects is how often a receiver may send a request elsewhere on its host.
const maxRedirects = 3

func newClient() *http.Client {
	return &http.Client{
		CheckRedirect: checkRedirect,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    10 * time.Second,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: maxHeaders,
			DisableCompression:     true,
		},
	}
}

// errRedirect: a receiver sends a request where it must not go.
var errRedirect = errors.New("redirect refused")

// checkRedirect lets a request be repeated on the host that was configured only:
// it says what goes on here, and is signed for that host. A redirect that would
// make it a GET without a body is none that delivers it.
func checkRedirect(to *http.Request, before []*http.Request) error {
	first := before[0].URL
	switch {
	case to.URL.Host != first.Host || to.URL.Scheme != first.Scheme:
		return fmt.Errorf("%w: %s sends it to %s://%s", errRedirect, first.Host, to.URL.Scheme, to.URL.Host)
	case to.Method != http.MethodPost:
		return fmt.Errorf("%w: %s answers %s, with which the document would be lost", errRedirect, first.Host, to.Response.Status)
	case len(before) > maxRedirects:
		return fmt.Errorf("%w: more than %d of %s", errRedirect, maxRedirects, first.Host)
	}
	return nil
}

// post sends a document. It is signed if there is a file with a secret.
func (n *Notifier) post(ctx context.Context, address, secretFile string, notice Notice, body []byte) Answer {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return Answer{Error: whyNot(err), Hint: "write another address into the configuration", verdict: refused}
	}
	timestamp := strconv.FormatInt(n.cfg.Now().Unix(), 10)
	for name, value := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "wring/" + n.cfg.Version,
		HeaderID: notice.ID, HeaderEvent: string(notice.Event), HeaderTimestamp: timestamp,
	} {
		request.Header.Set(name, value)
	}
	if secretFile != "" {
		// Read anew each time, so that it can be changed without the host.
		secret, err := config.ReadSecret(secretFile)
		if err != nil {
			what, todo, _ := strings.Cut(err.Error(), "\n")
			return Answer{Error: fmt.Sprintf("the secret_file %s %s", secretFile, what), Hint: todo}
		}
		request.Header.Set(HeaderSignature, "v1="+Sign(secret, timestamp, body))
	}
	response, err := n.client.Do(request)
	if err != nil {
		return undelivered(err)
	}
	defer response.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return n.judge(response, said)
}

func undelivered(err error) Answer {
	a := Answer{Error: whyNot(err)}
	var certificate *tls.CertificateVerificationError
	var name *net.DNSError
	var network net.Error
	switch {
	case errors.Is(err, errRedirect):
		a.verdict, a.Hint = refused, "write the address that is meant into the configuration"
	case errors.As(err, &certificate):
		a.Hint = "give the receiver a certificate that this machine trusts, or let it trust the one that it has"
	case errors.As(err, &name):
		a.Hint = "is the name right in the configuration, and does this machine find its address?"
	case errors.Is(err, syscall.ECONNREFUSED):
		a.Hint = "start the receiver; is the port right in the configuration?"
	case errors.As(err, &network) && network.Timeout():
		a.Hint = "the receiver, or a firewall on the way, does not answer: see whether it can be reached from this machine"
	default:
		a.Hint = "see whether the receiver runs and can be reached from this machine, and whether it takes http or https"
	}
	return a
}

// judge says what a receiver's answer means.
func (n *Notifier) judge(response *http.Response, said []byte) Answer {
	a := Answer{Text: response.Status, after: retryAfter(response.Header, n.cfg.Now())}
	if text := firstLines(said); text != "" {
		a.Text += ": " + text
	}
	status := response.StatusCode
	if status < 200 || status > 299 {
		a.Error = "it answers " + response.Status
	}
	switch {
	case status >= 200 && status <= 299:
		a.verdict = taken
	case status == http.StatusGone:
		a.verdict, a.Hint = gone, "the receiver says that it is gone for good: change or remove the notify block"
	case status == http.StatusTooManyRequests:
		a.verdict, a.Hint = failed, "it takes no more for now: does something else post there too?"
	case status == http.StatusRequestTimeout, status >= 500:
		a.verdict, a.Hint = failed, "the receiver has trouble of its own: see its log"
	default:
		a.verdict, a.Hint = refused, "see what the receiver's own log says of it; is the address right, and the secret?"
	}
	return a
}

// maxRetryAfter bounds how long a receiver is left alone at its own wish, so that
// a notice is tried several times before it is too old.
const maxRetryAfter = tryFor / 4

// retryAfter is how long a receiver wants to be left alone.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
