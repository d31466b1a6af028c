package hdfs

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"

	"github.com/ckptd/ckptd/layout/storage"
)

// hazards asks for what keeps or loses files without ckptd.
func (s *store) hazards(ctx context.Context) []storage.Hazard {
	w, unasked := s.askWeb(ctx)
	all := []storage.Hazard{
		syncHazard(w, unasked),
		safeModeHazard(w, unasked),
		copiesHazard(s.cluster.replication, w, unasked),
	}
	return append(all, s.askRPC(ctx)...)
}

// askRPC asks the NameNode by its own protocol: quotas, snapshots and trash.
func (s *store) askRPC(ctx context.Context) []storage.Hazard {
	quota := storage.Hazard{Name: "quotas", Seen: "none on the root"}
	snapshots := storage.Hazard{Name: "snapshots", Seen: "off"}
	trash := storage.Hazard{Name: "trash", Seen: "off"}
	err := s.pool.call(ctx, func(c *client) error {
		folders, err := s.lineage(c)
		if err != nil {
			return err
		}
		for _, f := range folders {
			if f.flags&flagSnapshots != 0 && f.path != "/" { // which always has the flag
				snapshots = snapshotHazard(f.path)
			}
		}
		defaults, err := c.ServerDefaults()
		if err != nil {
			return err
		}
		if defaults.TrashInterval > 0 {
			trash.Seen = "on, for the shell only: ckptd deletes at once"
		}
		if n := len(folders); n == 0 || folders[n-1].path != s.config.Path {
			quota.Seen = "the root does not exist yet"
			return nil
		}
		sum, err := c.GetContentSummary(s.config.Path)
		if err != nil {
			return err
		}
		quota = quotaHazard(usage{
			names: int64(sum.FileCount()) + int64(sum.DirectoryCount()), nameQuota: int64(sum.NameQuota()),
			space: sum.SizeAfterReplication(), spaceQuota: sum.SpaceQuota(), block: s.cluster.blockSize * int64(s.cluster.replication),
		})
		return nil
	})
	if err != nil {
		for _, h := range []*storage.Hazard{&quota, &snapshots, &trash} {
			h.Weight, h.Seen, h.Advice = storage.WeightUnknown, "not looked at: "+plain(err).Error(), "Run doctor again as a user who may read the root's folder."
		}
	}
	return []storage.Hazard{quota, snapshots, trash}
}

func snapshotHazard(path string) storage.Hazard {
	return storage.Hazard{
		Name: "snapshots", Weight: storage.WeightWarning, Seen: path + " is snapshottable: files that ckptd deletes stay in snapshots, and take up space",
		Advice: "Use a folder outside of it, or make no snapshots there (hdfs dfsadmin -disallowSnapshot).",
	}
}

// A usage is how much of its quotas a folder uses; a quota of -1 is none.
type usage struct{ names, nameQuota, space, spaceQuota, block int64 }

func quotaHazard(u usage) storage.Hazard {
	h := storage.Hazard{Name: "quotas", Seen: "none on the root"}
	var seen []string
	tight := false
	if u.nameQuota >= 0 && u.nameQuota != math.MaxInt64 {
		seen = append(seen, fmt.Sprintf("%d names of %d used", u.names, u.nameQuota))
		tight = u.nameQuota-u.names < 1000
	}
	if u.spaceQuota >= 0 {
		seen = append(seen, fmt.Sprintf("%d MiB of %d used, copies included", u.space>>20, u.spaceQuota>>20))
		// The NameNode counts a whole block and its copies before the first byte of a file.
		tight = tight || u.spaceQuota-u.space < 100*u.block
	}
	if len(seen) > 0 {
		h.Seen = strings.Join(seen, "; ")
	}
	if tight {
		h.Weight = storage.WeightWarning
		h.Advice = "Raise the quota (hdfs dfsadmin -setQuota, -setSpaceQuota), or make blocks smaller (blocksize=): each open file counts as a whole block until it is closed."
	}
	return h
}

// syncHazard judges whether DataNodes sync a file before they report it.
func syncHazard(w web, unasked error) storage.Hazard {
	const set = "Set dfs.datanode.synconclose to true in hdfs-site.xml of all DataNodes, and restart them."
	h := storage.Hazard{Name: "sync on close", Seen: "on (dfs.datanode.synconclose)"}
	switch {
	case unasked != nil:
		return notAsked(h.Name, unasked, "whether dfs.datanode.synconclose is true on all DataNodes")
	case w.unsynced > 0:
		h.Weight, h.Advice = storage.WeightWarning, set
		h.Seen = fmt.Sprintf("off on %d of %d DataNodes: a power cut of all machines with a copy may lose files that were reported durable", w.unsynced, w.live)
	case w.silent > 0 || w.live == 0:
		return notAsked(h.Name, fmt.Errorf("%d of %d DataNodes did not say", w.silent, w.live), "whether dfs.datanode.synconclose is true on all DataNodes")
	}
	return h
}

func safeModeHazard(w web, unasked error) storage.Hazard {
	h := storage.Hazard{Name: "safe mode", Seen: "off"}
	switch {
	case unasked != nil:
		return notAsked(h.Name, unasked, "whether the NameNode is in safe mode (hdfs dfsadmin -safemode get)")
	case w.safeMode != "":
		h.Weight, h.Seen = storage.WeightWarning, "on: the NameNode takes no writes"
		h.Advice = "Wait until it leaves safe mode, or end it (hdfs dfsadmin -safemode leave), and run doctor again."
	}
	return h
}

// copiesHazard judges how many copies of a file there will be.
func copiesHazard(replication int, w web, unasked error) storage.Hazard {
	h := storage.Hazard{Name: "copies", Seen: fmt.Sprintf("%d of each file", replication)}
	switch {
	case unasked == nil && replication < w.least:
		h.Weight = storage.WeightUnfit
		h.Seen += fmt.Sprintf(", but the NameNode wants at least %d (dfs.namenode.replication.min)", w.least)
		h.Advice = fmt.Sprintf("Say replication=%d or more.", w.least)
	case unasked == nil && w.live < w.least:
		h.Weight, h.Seen = storage.WeightUnfit, h.Seen+fmt.Sprintf(", but %d DataNodes are alive, fewer than the least number of copies (%d)", w.live, w.least)
		h.Advice = "Start more DataNodes."
	case unasked == nil && w.live < replication:
		h.Weight, h.Seen = storage.WeightWarning, h.Seen+fmt.Sprintf(", but only %d DataNodes are alive", w.live)
		h.Advice = "Start more DataNodes, or say a smaller replication=."
	case replication == 1:
		h.Weight, h.Seen = storage.WeightWarning, "1 of each file: the loss of one disk loses checkpoints"
		h.Advice = "Say replication=3, or at least 2."
	}
	return h
}

func notAsked(name string, why error, what string) storage.Hazard {
	return storage.Hazard{Name: name, Weight: storage.WeightUnknown, Seen: "not looked at: " + why.Error(),
		Advice: "Ask whoever runs the cluster " + what + "."}
}

// askDataNodes asks each DataNode for its setting of synconclose.
func (w *web) askDataNodes(ctx context.Context, nodes []string) {
	var mu sync.Mutex
	var all sync.WaitGroup
	turns := make(chan struct{}, 8)
	for _, node := range nodes {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			value, err := setting(ctx, node, "dfs.datanode.synconclose")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				w.silent++
			case value != "true":
				w.unsynced++
			}
		})
	}
	all.Wait()
}
