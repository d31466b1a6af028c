package hdfs

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A web is what the web servers of the cluster say. Their protocol is not that of the files, and they may be closed.
type web struct {
	safeMode string // why; empty: not in safe mode
	live     int    // DataNodes
	unsynced int    // DataNodes that do not sync on close
	silent   int    // DataNodes that did not answer
	least    int    // copies of a file, before it counts as whole
}

// webTime bounds one question.
const webTime = 5 * time.Second

// askWeb asks the active NameNode, and each DataNode.
func (s *store) askWeb(ctx context.Context) (web, error) {
	var last error
	for _, address := range s.cluster.webAddresses() {
		w, nodes, err := askNameNode(ctx, address)
		if err != nil {
			last = err
			continue
		}
		w.askDataNodes(ctx, nodes)
		return w, nil
	}
	if last == nil {
		last = errors.New("no web address of a NameNode is known (dfs.namenode.http-address)")
	}
	return web{}, last
}

func askNameNode(ctx context.Context, address string) (w web, nodes []string, err error) {
	var status struct{ Beans []struct{ State string } }
	if err := bean(ctx, address, "NameNodeStatus", &status); err != nil {
		return w, nil, err
	}
	if len(status.Beans) != 1 || status.Beans[0].State != "active" {
		return w, nil, fmt.Errorf("the NameNode at %s is not active", address)
	}
	var info struct {
		Beans []struct{ Safemode, LiveNodes string }
	}
	if err := bean(ctx, address, "NameNodeInfo", &info); err != nil {
		return w, nil, err
	}
	if len(info.Beans) != 1 {
		return w, nil, fmt.Errorf("the NameNode at %s does not say how it is", address)
	}
	live := map[string]struct {
		InfoAddr string `json:"infoAddr"`
	}{}
	if err := json.Unmarshal([]byte(info.Beans[0].LiveNodes), &live); err != nil {
		return w, nil, fmt.Errorf("the NameNode at %s: its list of DataNodes: %w", address, err)
	}
	for _, node := range live {
		nodes = append(nodes, node.InfoAddr)
	}
	least := 1
	if text, err := setting(ctx, address, "dfs.namenode.replication.min"); err == nil && text != "" {
		if least, err = strconv.Atoi(text); err != nil {
			return w, nil, fmt.Errorf("the NameNode at %s: dfs.namenode.replication.min: %w", address, err)
		}
	}
	return web{safeMode: info.Beans[0].Safemode, live: len(live), least: least}, nodes, nil
}

// bean reads one bean of a NameNode.
func bean(ctx context.Context, address, name string, into any) error {
	body, err := ask(ctx, address, "/jmx?qry="+url.QueryEscape("Hadoop:service=NameNode,name="+name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("the answer of %s is not a NameNode's: %w", address, err)
	}
	return nil
}

// setting returns a daemon's setting; empty if it is not set.
func setting(ctx context.Context, address, name string) (string, error) {
	body, err := ask(ctx, address, "/conf?name="+url.QueryEscape(name))
	if err != nil || len(strings.TrimSpace(string(body))) == 0 {
		return "", err
	}
	var found struct {
		Property []struct {
			Name  string `xml:"name"`
			Value string `xml:"value"`
		} `xml:"property"`
	}
	if err := xml.Unmarshal(body, &found); err != nil {
		return "", fmt.Errorf("the settings of %s: %w", address, err)
	}
	for _, p := range found.Property {
		if p.Name == name {
			return p.Value, nil
		}
	}
	return "", nil
}

var webClient = &http.Client{Timeout: webTime, Transport: &http.Transport{DisableKeepAlives: true}}

func ask(ctx context.Context, address, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/xml")
	resp, err := webClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusNotFound && strings.HasPrefix(path, "/conf"):
		return nil, nil // the setting is not set
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %s", address, resp.Status)
	}
	return body, nil
}
