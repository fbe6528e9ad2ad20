package daemon_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"

	"github.com/wringdb/wring/core/api"
)

// get asks the host on its socket, as curl does.
func (p *place) get(target string) string {
	p.t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", api.SocketPath(filepath.Join(p.dir, "data")))
	}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("http://wring" + target)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		p.t.Fatalf("GET %s: %s %s, %v", target, response.Status, content, err)
	}
	return string(content)
}
