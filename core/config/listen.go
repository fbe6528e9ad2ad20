package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// Listen is where the admin interface answers over TCP, beside its unix socket.
type Listen struct {
	// Address is an IP address or localhost, and a port; port 0 is any that is
	// free.
	Address string
	// Hosts are names and addresses, in lower case and without ports, by which
	// clients reach it beside Address and localhost.
	Hosts []string
	// Certificate and Key are files in PEM, both absolute; empty means no TLS.
	Certificate, Key string
	// ClientCA is a file in PEM with the authorities whose clients are let in.
	// Then all clients must show a certificate, and no token is asked for.
	ClientCA string
}

// defaultAddress is where a listen block without an address listens.
const defaultAddress = "127.0.0.1:7333"

// Exposed says whether what is sent can be read on its way: it leaves the
// machine without TLS.
func (l Listen) Exposed() bool {
	host, _, _ := net.SplitHostPort(l.Address)
	ip, err := netip.ParseAddr(host)
	return l.Certificate == "" && err == nil && !ip.Unmap().IsLoopback()
}

// MistakeInTLS says what is wrong with the files that the tls block names, with
// its line. They are not looked at when the configuration is read: they are
// renewed by others, at any time.
func (c *Config) MistakeInTLS(summary, detail string) *Diagnostics {
	d := c.tlsPlace
	d.File, d.Summary, d.Detail = c.File, summary, detail
	return &Diagnostics{file: c.File, list: []Diagnostic{d}}
}

// listen reads the block, if there is one.
func (b *block) listen(c *Config) *Listen {
	found := b.one("listen")
	if found == nil {
		return nil
	}
	inner := b.open(found.Body, "listen", found.TypeRange, []string{"address", "hosts"}, []string{"tls"})
	listen := &Listen{Address: defaultAddress, Hosts: setting(inner, "hosts", hostNames).v}
	if v := setting(inner, "address", listenAddress); v.set {
		listen.Address = v.v
	}
	if t := inner.one("tls"); t != nil {
		c.tlsPlace = at(b.file, b.src, t.TypeRange, "", "")
		names := []string{"certificate", "key", "client_ca"}
		files := b.open(t.Body, "tls", t.TypeRange, names, nil)
		for _, name := range names[:2] {
			if _, given := t.Body.Attributes[name]; !given {
				b.reportMissing(t.TypeRange, fmt.Sprintf("tls has no %s", name), "give it the paths of both files, certificate and key")
			}
		}
		listen.Certificate = setting(files, "certificate", b.path).v
		listen.Key = setting(files, "key", b.path).v
		listen.ClientCA = setting(files, "client_ca", b.path).v
	}
	return listen
}

// listenAddress parses an address to listen on. A name would have to be looked
// up, and could be any address by then.
func listenAddress(v cty.Value) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("is no address with a port, %q\nwrite one such as \"127.0.0.1:7333\" or \"[::1]:7333\"", s)
	}
	if host == "" {
		return "", fmt.Errorf("leaves open where to listen, %q\nwrite \"127.0.0.1%s\", or \"0.0.0.0%s\" for everywhere", s, ":"+port, ":"+port)
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
		return "", fmt.Errorf("has the name %q in it\nwrite an IP address; names by which clients come go into hosts", host)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("has no port, %q\nwrite a number up to 65535 after the colon", s)
	}
	return s, nil
}

var hostForm = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

func hostNames(v cty.Value) ([]string, error) {
	names, err := texts(v)
	if err != nil {
		return nil, err
	}
	var wrong []error
	for i, name := range names {
		names[i] = strings.ToLower(name)
		if ip, err := netip.ParseAddr(name); err == nil {
			names[i] = ip.String()
		} else if strings.Contains(name, "*") {
			wrong = append(wrong, errors.New("has a * in it\nwrite each name: a pattern would let names in that others own"))
		} else if !hostForm.MatchString(names[i]) {
			wrong = append(wrong, fmt.Errorf("has %q, which is no name of a host\nwrite the name alone, such as \"wring.example.org\", without scheme and port", name))
		}
	}
	return names, errors.Join(wrong...)
}
