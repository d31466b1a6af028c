package hdfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/colinmarc/hdfs/v2"

	"github.com/ckptd/ckptd/layout/storage"
)

// A kind is what may be concluded from the error of one call.
type kind uint8

const (
	// done: the NameNode carried the call out, and has synced it.
	done kind = iota
	// absent: the path, or for some calls its parent, does not exist.
	absent
	// exists: the path exists.
	exists
	// refused: the NameNode did not carry the call out, for another reason.
	refused
	// unsent: no NameNode was given the call.
	unsent
	// lost: the reply is missing. The call may have been carried out, or may be later.
	lost
)

func kindOf(err error) kind {
	var remote hdfs.Error
	var before notSent
	switch {
	case err == nil:
		return done
	case errors.Is(err, syscall.ENOTEMPTY): // errors.Is(ENOTEMPTY, os.ErrExist) is true
		return refused
	case errors.Is(err, os.ErrNotExist), belowFile(err):
		return absent
	case errors.Is(err, os.ErrExist):
		return exists
	case errors.As(err, &remote), errors.Is(err, os.ErrPermission), errors.Is(err, os.ErrInvalid):
		return refused
	case errors.As(err, &before), strings.Contains(err.Error(), noNameNodes):
		return unsent
	}
	return lost
}

// belowFile reports whether a path leads through a file.
func belowFile(err error) bool {
	class, message := exceptionOf(err)
	return class == "ParentNotDirectoryException" || class == "AccessControlException" && strings.Contains(message, "(is not a directory)")
}

// noNameNodes begins the library's error when it could not send a call.
const noNameNodes = "no available namenodes"

// exceptionOf returns the class of a NameNode's exception without its package, and the first line of its message.
func exceptionOf(err error) (class, message string) {
	var remote hdfs.Error
	if !errors.As(err, &remote) {
		return "", ""
	}
	class = remote.Exception()[strings.LastIndexByte(remote.Exception(), '.')+1:]
	message, _, _ = strings.Cut(remote.Message(), "\n")
	return class, strings.TrimSpace(message)
}

// final reports whether a NameNode would refuse the same call again, until somebody changes something.
func final(err error) bool {
	switch class, _ := exceptionOf(err); class {
	case "SafeModeException", "NSQuotaExceededException", "DSQuotaExceededException", "AccessControlException", "SnapshotException":
		return true
	}
	return errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrInvalid)
}

// taken reports whether a rename was refused because something lies at its target.
func taken(err error) bool {
	_, message := exceptionOf(err)
	return strings.Contains(message, "is not empty") || strings.Contains(message, "must both be")
}

// A refusal is an error of the library in few words, with the contract's sentinel errors.
type refusal struct {
	text string
	all  []error
}

func (r *refusal) Error() string   { return r.text }
func (r *refusal) Unwrap() []error { return r.all }

// plain shortens an error of the library, and says what to do.
func plain(err error) error {
	class, message := exceptionOf(err)
	if class == "" {
		return err
	}
	r := &refusal{text: "NameNode: " + class, all: []error{err}}
	if message != "" {
		r.text += ": " + message
	}
	switch class {
	case "SafeModeException":
		r.text += "; it takes no writes until it leaves safe mode (hdfs dfsadmin -safemode get)"
		r.all = append(r.all, storage.ErrPaused)
	case "NSQuotaExceededException", "DSQuotaExceededException":
		r.text = syscall.EDQUOT.Error() + ": " + r.text + "; raise the quota (hdfs dfsadmin -setQuota, -setSpaceQuota), or keep fewer checkpoints"
		r.all = append(r.all, syscall.EDQUOT)
	case "AccessControlException":
		r.all = append(r.all, fs.ErrPermission)
	case "RetriableException":
		r.all = append(r.all, storage.ErrThrottled)
	}
	return r
}

// unknown is the error of a mutation that may have been done, or may be done later.
func unknown(err error) error { return fmt.Errorf("%w: %w", storage.ErrUnknown, plain(err)) }

// readError turns an error of a read into the contract's words.
func readError(err error) error {
	if kindOf(err) == absent {
		return storage.ErrNotFound
	}
	return plain(err)
}
