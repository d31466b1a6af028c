package hdfs

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"

	"github.com/ckptd/ckptd/layout/storage"
)

// Names on HDFS. A key made by Create is a file. A key made by Publish, or by Create with IfAbsent, is a folder that holds
// one file with the name of dataName. A key's elements are escaped, so that no key has a name of the driver's own.
const (
	// dataName has an escape sign without two digits after it, so no key has this name.
	dataName = "%data"
	// scrap begins the names below _tmp of what belongs to no key: it can be removed at any time.
	scrap = "~"
	// pieceSize is how many bytes of a key one element of a temporary name has. HDFS allows 255 in all.
	pieceSize = 200
	// pieceEnd ends each element of a temporary name but the last one.
	pieceEnd = "+"
)

// escape writes an element of a key as a name. HDFS has no ":" in names, and reserves two of them.
func escape(element string) string {
	if element == ".snapshot" || element == ".reserved" {
		return "%2E" + element[1:]
	}
	return escaper.Replace(element)
}

var escaper = strings.NewReplacer("%", "%25", ":", "%3A", "~", "%7E")

// unescape is the inverse of escape. A name that escape does not print belongs to somebody else, and stays as it is.
func unescape(name string) string {
	if element, err := url.PathUnescape(name); err == nil && escape(element) == name {
		return element
	}
	return name
}

// path returns the path of a key, or of a prefix without the slash at its end.
func (s *store) path(key string) string {
	path := strings.TrimSuffix(s.config.Path, "/")
	if key != "" {
		for element := range strings.SplitSeq(strings.TrimSuffix(key, "/"), "/") {
			path += "/" + escape(element)
		}
	}
	if path == "" {
		return "/"
	}
	return path
}

func below(folder, name string) string { return strings.TrimSuffix(folder, "/") + "/" + name }

// tempFolder is the folder of a key's temporary files. It lies in the folder of the key's first element, so quotas,
// access lists and snapshots apply to both alike.
func (s *store) tempFolder(key string) string {
	first, _, inFolder := strings.Cut(key, "/")
	if !inFolder {
		first = ""
	}
	return below(s.path(first), storage.TempElement)
}

// tempPath returns a new temporary path, which tells its target.
func (s *store) tempPath(key string) string {
	var elements []string
	for element := range strings.SplitSeq(key, "/") {
		elements = append(elements, escape(element))
	}
	name := strings.Join(elements, "~")
	path := s.tempFolder(key)
	for len(name) > pieceSize {
		path = below(path, name[:pieceSize]+pieceEnd)
		name = name[pieceSize:]
	}
	return below(path, name+"~"+rand.Text())
}

// scrapPath returns a new path below _tmp for something that belongs to no key.
func (s *store) scrapPath(key string) string { return below(s.tempFolder(key), scrap+rand.Text()) }

// targetOf is the inverse of tempPath: name is a path below a folder of temporary files, without pieceEnd.
func targetOf(name string) (key string, err error) {
	at := strings.LastIndexByte(name, '~')
	if at <= 0 {
		return "", fmt.Errorf("%q is no temporary file of ckptd", name)
	}
	var elements []string
	for element := range strings.SplitSeq(name[:at], "~") {
		elements = append(elements, unescape(element))
	}
	key = strings.Join(elements, "/")
	return key, storage.ValidateKey(key)
}
