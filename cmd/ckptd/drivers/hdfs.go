package drivers

import (
	"context"
	"fmt"

	"github.com/ckptd/ckptd/layout/storage"
	"github.com/ckptd/ckptd/layout/storage/hdfs"
)

// onHDFS is the row of HDFS.
func onHDFS() Driver {
	return Driver{
		Schemes: hdfs.Schemes(),
		Example: "hdfs://namenode:8020/ckptd",
		Form:    "hdfs://NAMENODE/DIR",
		Normal: func(url string) (string, error) {
			c, err := hdfs.Parse(url)
			if err != nil {
				return "", fmt.Errorf("root: %w", err)
			}
			return c.String(), nil
		},
		Open: func(ctx context.Context, url string, readOnly bool) (storage.Opened, error) {
			c, err := hdfs.Parse(url)
			if err != nil {
				return storage.Opened{}, err
			}
			c.ReadOnly = readOnly
			return hdfs.Open(ctx, c)
		},
		Permissions: map[string]string{
			"open":    "execute (--x) on the folders above the root",
			"publish": "write and execute (-wx) on the root's folder", "create": "write and execute (-wx) on the root's folder",
			"read": "read and execute (r-x) on the root's folder", "range": "read and execute (r-x) on the root's folder",
			"stat": "execute (--x) on the root's folder and those above", "list": "read and execute (r-x) on the root's folder",
			"delete": "write and execute (-wx) on the root's folder, and no sticky bit of another owner", "abort unfinished": "all (rwx) on the root's folder",
		},
		OpenAdvice: "Give hdfs://user@namenode:port/dir, or hdfs://nameservice/dir with HADOOP_CONF_DIR; then run doctor again.",
		Mistaken: map[string]string{
			"viewfs":  "a viewfs joins several clusters; name the one that keeps the folder: hdfs://nameservice/dir",
			"webhdfs": "ckptd speaks to NameNodes directly: hdfs://namenode:8020/dir",
		},
	}
}
