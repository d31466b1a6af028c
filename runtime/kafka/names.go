package kafka

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// transactionalID names one producer of one attempt.
type transactionalID struct {
	job, operator string
	subtask       int
	attempt       uint64
	number        int
}

// prefix begins the names of all attempts of a subtask.
func (id transactionalID) prefix() string {
	return fmt.Sprintf("ckptd/%s/%s/%d/", url.PathEscape(id.job), url.PathEscape(id.operator), id.subtask)
}

func (id transactionalID) String() string {
	return fmt.Sprintf("%s%d/%d", id.prefix(), id.attempt, id.number)
}

// pattern is a regular expression for the names of all attempts of a subtask.
func (id transactionalID) pattern() string {
	return "^" + regexp.QuoteMeta(id.prefix()) + "[0-9]+/[0-9]+$"
}

// attemptOf returns the attempt in a name, if the name belongs to the same subtask as id.
func (id transactionalID) attemptOf(name string) (attempt uint64, ok bool) {
	rest, ok := strings.CutPrefix(name, id.prefix())
	if !ok {
		return 0, false
	}
	first, second, ok := strings.Cut(rest, "/")
	attempt, err1 := strconv.ParseUint(first, 10, 64)
	_, err2 := strconv.ParseUint(second, 10, 32)
	return attempt, ok && err1 == nil && err2 == nil
}
