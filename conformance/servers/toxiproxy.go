package servers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// A Proxy is a toxiproxy between a client and a server.
type Proxy struct {
	// Address is the host:port that the proxy listens on.
	Address string

	api    string
	client *http.Client
}

// A Toxic is one fault that the proxy adds. Stream is "upstream" (to the server) or "downstream"; Attributes are
// toxiproxy's own.
type Toxic struct {
	Type       string         `json:"type"`
	Stream     string         `json:"stream"`
	Toxicity   float64        `json:"toxicity"`
	Attributes map[string]any `json:"attributes"`
}

// StartProxy starts a proxy in front of a server's address. The proxy ends with the test.
func StartProxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	path := binary(t, Toxiproxy)
	p := &Proxy{client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	var err error
	for range 3 {
		api := freePort(t)
		host, port := split(api)
		var process *process
		if process, err = start(path, nil, "-host", host, "-port", port); err != nil {
			continue
		}
		p.api = "http://" + api
		if err = process.await(p.client, p.api+"/version", http.StatusOK); err != nil {
			process.kill()
			continue
		}
		t.Cleanup(process.kill)
		break
	}
	if err != nil {
		t.Fatal(err)
	}
	p.Address = freePort(t)
	p.call(t, http.MethodPost, "/proxies", map[string]any{"name": "store", "listen": p.Address, "upstream": upstream, "enabled": true})
	return p
}

// Add adds a fault and returns its name.
func (p *Proxy) Add(t testing.TB, toxic Toxic) string {
	t.Helper()
	if toxic.Toxicity == 0 {
		toxic.Toxicity = 1
	}
	name := fmt.Sprintf("%s-%s-%d", toxic.Type, toxic.Stream, time.Now().UnixNano())
	p.call(t, http.MethodPost, "/proxies/store/toxics", map[string]any{
		"name": name, "type": toxic.Type, "stream": toxic.Stream, "toxicity": toxic.Toxicity, "attributes": toxic.Attributes,
	})
	return name
}

// Remove removes a fault.
func (p *Proxy) Remove(t testing.TB, name string) {
	t.Helper()
	p.call(t, http.MethodDelete, "/proxies/store/toxics/"+name, nil)
}

// Enable lets connections through, or cuts all of them and refuses new ones.
func (p *Proxy) Enable(t testing.TB, enabled bool) {
	t.Helper()
	p.call(t, http.MethodPost, "/proxies/store", map[string]any{"enabled": enabled})
}

// Reset removes all faults and lets connections through.
func (p *Proxy) Reset(t testing.TB) {
	t.Helper()
	p.call(t, http.MethodPost, "/reset", nil)
}

func (p *Proxy) call(t testing.TB, method, path string, body any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, p.api+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode >= 300 {
		t.Fatalf("toxiproxy: %s %s: %s: %s", method, path, resp.Status, answer)
	}
}
