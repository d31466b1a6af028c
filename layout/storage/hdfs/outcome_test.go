package hdfs

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/ckptd/ckptd/layout/storage"
)

// An exception is a NameNode's answer.
type exception struct{ class, message string }

func (e exception) Method() string    { return "rename2" }
func (e exception) Desc() string      { return "ERROR_APPLICATION" }
func (e exception) Exception() string { return e.class }
func (e exception) Message() string   { return e.message }
func (e exception) Error() string     { return e.class + ": " + e.message }

// An error of a NameNode tells by the contract's words, or by the system's, what kind of trouble it is.
func TestPlain(t *testing.T) {
	t.Parallel()
	for class, want := range map[string]error{
		"org.apache.hadoop.hdfs.protocol.NSQuotaExceededException":       syscall.EDQUOT,
		"org.apache.hadoop.hdfs.protocol.DSQuotaExceededException":       syscall.EDQUOT,
		"org.apache.hadoop.hdfs.server.namenode.SafeModeException":       storage.ErrPaused,
		"org.apache.hadoop.security.AccessControlException":              fs.ErrPermission,
		"org.apache.hadoop.ipc.RetriableException":                       storage.ErrThrottled,
		"org.apache.hadoop.hdfs.server.namenode.SomethingElseException$": nil,
	} {
		err := plain(fmt.Errorf("call: %w", exception{class, "no"}))
		for _, sentinel := range []error{syscall.EDQUOT, storage.ErrPaused, fs.ErrPermission, storage.ErrThrottled} {
			if errors.Is(err, sentinel) != (sentinel == want) {
				t.Errorf("%s: %v is %v: %v, want only %v", class, err, sentinel, errors.Is(err, sentinel), want)
			}
		}
	}
}
