package browser

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Stand-ins are for calls that a host may not have, or not have the numbers for
// yet: sessions over a unix socket, samples of a host that began just now. What
// the host has itself is never stood in for.

// standIn looks at what the host describes, and puts the rest in front of it.
func (h *host) standIn() {
	h.Helper()
	described := h.get("/openapi.json")
	if !strings.Contains(described, `"/v1/session"`) && !h.front.has("/v1/session") {
		h.front.put("/v1/session", func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, map[string]string{"authentication": "none", "scope": "operate"})
		})
	}
	n := &numbers{host: h, paused: map[string]time.Time{}, measured: map[string]map[string]any{}, samples: map[string][]map[string]any{}}
	if !strings.Contains(described, `"/v1/samples"`) {
		h.front.put("/v1/samples", n.serveSamples)
	}
	if !strings.Contains(described, `"/v1/pause"`) {
		h.front.put("/v1/pause", n.servePause)
		h.front.put("/v1/resume", n.servePause)
	}
	if !strings.Contains(described, `"cell_bytes"`) {
		h.front.put("/v1/inspect", h.serveLayers)
	}
	if !strings.Contains(described, `"measured_at"`) {
		h.front.put("/v1/status", n.serveStatus)
	}
}

// askForTokens has the host ask for tokens, and returns one that may read. A host
// that does so itself listens on an address of its own.
func (h *host) askForTokens() string {
	h.Helper()
	configuration := filepath.Join(h.dir, "wring.hcl")
	create := exec.Command(filepath.Join(programs, "wring"), "token", "create", "--config", configuration, "--scope", "read", "--json", "reader")
	said, err := create.Output()
	var made struct{ Token string }
	if err != nil || json.Unmarshal(said, &made) != nil {
		h.front.put("/v1/session", tokens("wring_right"))
		return "wring_right"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		h.Fatal(err)
	}
	content, err := os.ReadFile(configuration)
	if err == nil {
		err = os.WriteFile(configuration, fmt.Appendf(content, "listen {\n  address = %q\n}\n", address), 0o600)
	}
	if err != nil {
		h.Fatal(err)
	}
	h.address = "http://" + address
	return made.Token
}

// tokens answers as a host that knows one token, which may read.
func tokens(token string) http.HandlerFunc {
	var mu sync.Mutex
	scope := ""
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch r.Method {
		case http.MethodPost:
			var said struct{ Token string }
			if err := json.NewDecoder(r.Body).Decode(&said); err != nil || said.Token != token {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			scope = "read"
			w.WriteHeader(http.StatusNoContent)
		case http.MethodDelete:
			scope = ""
			w.WriteHeader(http.StatusNoContent)
		default:
			writeJSON(w, map[string]string{"authentication": "token", "scope": scope})
		}
	}
}

// get asks the host itself.
func (h *host) get(path string) string {
	h.Helper()
	answer, err := http.Get(h.front.URL + path)
	if err != nil {
		h.Fatal(err)
	}
	defer answer.Body.Close()
	all, err := io.ReadAll(answer.Body)
	if err != nil {
		h.Fatal(err)
	}
	return string(all)
}

func writeJSON(w http.ResponseWriter, document any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document)
}

// numbers are sizes that were measured by the host, and remembered here.
type numbers struct {
	host *host

	mu       sync.Mutex
	paused   map[string]time.Time
	measured map[string]map[string]any
	samples  map[string][]map[string]any
}

func (n *numbers) servePause(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if store := r.URL.Query().Get("store"); strings.HasSuffix(r.URL.Path, "pause") {
		n.paused[store] = time.Now()
	} else {
		delete(n.paused, store)
	}
	w.WriteHeader(http.StatusNoContent)
}

func (n *numbers) serveSamples(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	samples := n.samples[r.URL.Query().Get("store")]
	if samples == nil {
		samples = []map[string]any{}
	}
	writeJSON(w, samples)
}

// serveLayers puts layers into the measurement of a Pebble store.
func (h *host) serveLayers(w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	h.front.proxy.ServeHTTP(answer, r)
	var inspection map[string]any
	if answer.Code != http.StatusOK || json.Unmarshal(answer.Body.Bytes(), &inspection) != nil || inspection["engine"] != "Pebble" {
		w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
		return
	}
	var layers []map[string]any
	for i, name := range []string{"L0", "L5", "L6"} {
		var sizes, live, garbage, tombstones []int
		for cell := range 128 {
			sizes = append(sizes, (i*i*9+1)<<12*((cell*7)%(5-i)+i))
			live = append(live, 20+25*i)
			garbage = append(garbage, (cell*13)%(70-25*i))
			tombstones = append(tombstones, 8-3*i)
		}
		layers = append(layers, map[string]any{
			"name": name, "bytes": 4 << (20 + i), "cell_bytes": sizes,
			"live_percent": live, "garbage_percent": garbage, "tombstone_percent": tombstones,
		})
	}
	inspection["layers"] = layers
	writeJSON(w, inspection)
}

// few is up to how many stores each is measured; of more the figures are made up.
const few = 20

func (n *numbers) serveStatus(w http.ResponseWriter, r *http.Request) {
	ask := func(path string, into any) bool {
		answer := httptest.NewRecorder()
		n.host.front.proxy.ServeHTTP(answer, httptest.NewRequestWithContext(r.Context(), http.MethodGet, path, nil))
		if answer.Code != http.StatusOK {
			w.WriteHeader(answer.Code)
			return false
		}
		return json.Unmarshal(answer.Body.Bytes(), into) == nil
	}
	var status map[string]any
	if !ask("/v1/status", &status) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	stores, _ := status["stores"].([]any)
	for i, one := range stores {
		store, _ := one.(map[string]any)
		name, _ := store["store"].(string)
		if at, ok := n.paused[name]; ok {
			store["paused_at"] = at
		}
		key := name + " " + textOf(store["last_compaction_at"])
		if len(stores) > few {
			size := int64(i%97+1) << 20
			n.measured[key] = map[string]any{"engine": "bbolt", "total_bytes": size, "allocated_bytes": size, "live_bytes": size / 3, "reclaimable_bytes": size / int64(i%5+2)}
		}
		if n.measured[key] == nil && store["active"] == nil {
			answer := httptest.NewRecorder()
			n.host.front.proxy.ServeHTTP(answer, httptest.NewRequestWithContext(r.Context(), http.MethodGet, "/v1/inspect?store="+url.QueryEscape(name), nil))
			var inspection map[string]any
			if json.Unmarshal(answer.Body.Bytes(), &inspection) == nil && inspection["total_bytes"] != nil {
				n.measured[key] = inspection
				n.samples[name] = append(n.samples[name], map[string]any{
					"at": time.Now(), "total_bytes": inspection["total_bytes"], "allocated_bytes": inspection["allocated_bytes"],
					"live_bytes": inspection["live_bytes"], "reclaimable_bytes": inspection["reclaimable_bytes"],
				})
			}
		}
		for _, field := range []string{"engine", "total_bytes", "allocated_bytes", "live_bytes", "reclaimable_bytes"} {
			if value := n.measured[key][field]; value != nil {
				store[field] = value
			}
		}
	}
	writeJSON(w, status)
}

func textOf(value any) string { s, _ := value.(string); return s }
