package hdfs

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

// Each thing that may lose or keep files is told with its weight, and with advice unless it is fine.
func TestHazards(t *testing.T) {
	whole := web{live: 3, least: 1}
	unasked := errors.New("connection refused")
	for name, c := range map[string]struct {
		got  storage.Hazard
		want storage.Weight
		says string
	}{
		"synced":            {syncHazard(whole, nil), storage.WeightNone, "on"},
		"not synced":        {syncHazard(web{live: 3, unsynced: 2}, nil), storage.WeightWarning, "off on 2 of 3"},
		"a silent DataNode": {syncHazard(web{live: 3, silent: 1}, nil), storage.WeightUnknown, "1 of 3"},
		"nobody asked":      {syncHazard(web{}, unasked), storage.WeightUnknown, "refused"},
		"no DataNode":       {syncHazard(web{}, nil), storage.WeightUnknown, "0 of 0"},
		"safe mode":         {safeModeHazard(web{safeMode: "Safe mode is ON."}, nil), storage.WeightWarning, "no writes"},
		"no safe mode":      {safeModeHazard(whole, nil), storage.WeightNone, "off"},
		"one copy":          {copiesHazard(1, whole, nil), storage.WeightWarning, "one disk"},
		"one copy, unasked": {copiesHazard(1, web{}, unasked), storage.WeightWarning, "one disk"},
		"three copies":      {copiesHazard(3, whole, nil), storage.WeightNone, "3 of each"},
		"below the least":   {copiesHazard(1, web{live: 3, least: 2}, nil), storage.WeightUnfit, "at least 2"},
		"too few DataNodes": {copiesHazard(3, web{live: 2, least: 1}, nil), storage.WeightWarning, "only 2"},
		"no DataNode alive": {copiesHazard(3, web{live: 0, least: 1}, nil), storage.WeightUnfit, "0 DataNodes"},
		"no quotas":         {quotaHazard(usage{nameQuota: -1, spaceQuota: -1}), storage.WeightNone, "none"},
		"the root's quota":  {quotaHazard(usage{nameQuota: math.MaxInt64, spaceQuota: -1}), storage.WeightNone, "none"},
		"enough names":      {quotaHazard(usage{names: 10, nameQuota: 1 << 20, spaceQuota: -1}), storage.WeightNone, "10 names of 1048576"},
		"few names":         {quotaHazard(usage{names: 10, nameQuota: 20, spaceQuota: -1}), storage.WeightWarning, "10 names of 20"},
		"little space":      {quotaHazard(usage{nameQuota: -1, spaceQuota: 1 << 30, block: 128 << 20}), storage.WeightWarning, "0 MiB of 1024"},
		"snapshots":         {snapshotHazard("/x"), storage.WeightWarning, "/x is snapshottable"},
		"enough space":      {quotaHazard(usage{nameQuota: -1, spaceQuota: 1 << 40, block: 128 << 20}), storage.WeightNone, "0 MiB of"},
	} {
		if c.got.Weight != c.want || !strings.Contains(c.got.Seen, c.says) {
			t.Errorf("%s: %+v, want weight %d and %q", name, c.got, c.want, c.says)
		}
		if (c.got.Advice == "") != (c.want == storage.WeightNone) {
			t.Errorf("%s: advice %q; want one exactly where something is to be done", name, c.got.Advice)
		}
	}
}

// askNameNode reads the web pages of a NameNode and of its DataNodes; what is not a NameNode's is an error.
func TestWeb(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`<?xml version="1.0"?><configuration><property><name>dfs.datanode.synconclose</name><value>true</value></property></configuration>`))
	}))
	defer node.Close()
	state := "active"
	master := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Query().Get("qry"), "NameNodeStatus"):
			_, _ = w.Write([]byte(`{"beans": [{"State": "` + state + `"}]}`))
		case strings.Contains(r.URL.Query().Get("qry"), "NameNodeInfo"):
			_, _ = w.Write([]byte(`{"beans": [{"Safemode": "", "LiveNodes": "{\"a:1\": {\"infoAddr\": \"` + node.Listener.Addr().String() + `\"}, \"b:1\": {\"infoAddr\": \"127.0.0.1:1\"}}"}]}`))
		case r.URL.Path == "/conf":
			http.NotFound(w, r)
		}
	}))
	defer master.Close()
	s := &store{cluster: cluster{conf: map[string]string{"dfs.namenode.http-address": master.Listener.Addr().String()}}}
	if w, err := s.askWeb(t.Context()); err != nil || w != (web{live: 2, silent: 1, least: 1}) {
		t.Errorf("%+v, %v; want two DataNodes, of which one is silent and one syncs", w, err)
	}
	state = "standby"
	if _, err := s.askWeb(t.Context()); err == nil {
		t.Error("a NameNode on standby was believed, want an error")
	}
	if got := (cluster{service: "ns", conf: map[string]string{
		"dfs.ha.namenodes.ns": "a, b", "dfs.namenode.http-address.ns.a": "a:1", "dfs.namenode.http-address.ns.b": "b:1",
	}}).webAddresses(); strings.Join(got, " ") != "a:1 b:1" {
		t.Errorf("web addresses %q, want those of both NameNodes", got)
	}
}
