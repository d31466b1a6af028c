package file

import (
	"os"
	"path/filepath"
	"strings"
)

// mountOptions returns the options of the mount that path lies on; nil if they cannot be found.
func mountOptions(path string) []string {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	return optionsOf(string(table), path)
}

// optionsOf finds a path's mount in the kernel's table: the longest mount point above the path. Of several mounts on
// one point the last one counts, because it hides the others.
func optionsOf(table, path string) (options []string) {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	longest := -1
	for line := range strings.Lines(table) {
		mount, file, ok := strings.Cut(line, " - ")
		m, f := strings.Fields(mount), strings.Fields(file)
		if !ok || len(m) < 6 || len(f) < 3 {
			continue
		}
		at := unescape.Replace(m[4])
		if rel, err := filepath.Rel(at, path); err != nil || rel == ".." || strings.HasPrefix(rel, "../") || len(at) < longest {
			continue
		}
		longest = len(at)
		options = append(strings.Split(m[5], ","), strings.Split(f[2], ",")...)
	}
	return options
}
