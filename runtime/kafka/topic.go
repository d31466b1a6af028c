package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// topic asks the brokers about the topic of a source.
type topic struct {
	admin *kadm.Client
	name  string
	// servers is for messages.
	servers string
}

// advice adds to an error what a person can do.
func (t topic) advice(err error) error {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return fmt.Errorf("topic %q does not exist at %s; create it, or correct the option topic: %w", t.name, t.servers, err)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.GroupAuthorizationFailed), errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return fmt.Errorf("the user may not do that with topic %q; docs/connectors.md lists the permissions: %w", t.name, err)
	case errors.Is(err, kerr.SaslAuthenticationFailed), err != nil && strings.Contains(err.Error(), "SASL_AUTHENTICATION_FAILED"):
		return fmt.Errorf("the brokers at %s refuse the user or the password; correct the properties sasl.*: %w", t.servers, err)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the brokers at %s close the connection; check security.protocol, and user and password (the properties sasl.*): %w", t.servers, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the brokers at %s did not answer in time; check bootstrap-servers and security.protocol: %w", t.servers, err)
	case errors.As(err, new(*net.OpError)):
		return fmt.Errorf("the brokers at %s cannot be reached; check that they run, and bootstrap-servers: %w", t.servers, err)
	case err != nil:
		return fmt.Errorf("brokers at %s: %w", t.servers, err)
	}
	return nil
}

// partitions returns the numbers of the partitions of one subtask, ascending.
func (t topic) partitions(ctx context.Context, index, parallelism int) (own []int32, id string, err error) {
	details, err := t.admin.ListTopicsWithInternal(ctx, t.name)
	if err == nil {
		err = details.Error()
	}
	if err == nil && !details.Has(t.name) {
		err = kerr.UnknownTopicOrPartition
	}
	if err != nil {
		return nil, "", t.advice(err)
	}
	for n := range details[t.name].Partitions {
		if int(n)%parallelism == index {
			own = append(own, n)
		}
	}
	slices.Sort(own)
	if zero := (kadm.TopicID{}); details[t.name].ID != zero {
		id = details[t.name].ID.String()
	}
	return own, id, nil
}

// create creates the topic with the brokers' defaults, and waits until they know its partitions. Another subtask may create it first.
func (t topic) create(ctx context.Context, partitions int) error {
	made, err := t.admin.CreateTopic(ctx, int32(partitions), -1, nil, t.name)
	if err == nil {
		err = made.Err
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return t.advice(fmt.Errorf("create topic %q: %w", t.name, err))
	}
	for {
		_, _, err := t.partitions(ctx, 0, 1)
		if !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return err
		}
		select {
		case <-ctx.Done():
			return t.advice(ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// offsets is one of kadm's listings, for this topic's partitions.
func (t topic) offsets(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (map[int32]int64, error) {
	listed, err := list(ctx, t.name)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, t.advice(err)
	}
	all := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { all[o.Partition] = o.Offset })
	return all, nil
}

// beginnings returns where each partition begins for a source that restores nothing.
func (t topic) beginnings(ctx context.Context, o SourceOptions, own []int32) (map[int32]int64, error) {
	switch o.Start {
	case StartLatest:
		return t.offsets(ctx, t.admin.ListEndOffsets)
	case StartTimestamp:
		return t.offsets(ctx, func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
			return t.admin.ListOffsetsAfterMilli(ctx, o.StartTime.UnixMilli(), topics...)
		})
	case StartCommitted:
		return t.committed(ctx, o, own)
	}
	return t.offsets(ctx, t.admin.ListStartOffsets)
}

// committed returns the offsets of the group. For a partition without one, the option offset-reset decides.
func (t topic) committed(ctx context.Context, o SourceOptions, own []int32) (map[int32]int64, error) {
	group, err := t.admin.FetchOffsetsForTopics(ctx, o.Group, t.name)
	if err == nil {
		err = group.Error()
	}
	if err != nil {
		return nil, t.advice(err)
	}
	var otherwise map[int32]int64
	switch o.OffsetReset {
	case "earliest":
		otherwise, err = t.offsets(ctx, t.admin.ListStartOffsets)
	case "latest":
		otherwise, err = t.offsets(ctx, t.admin.ListEndOffsets)
	}
	if err != nil {
		return nil, err
	}
	all := map[int32]int64{}
	for _, n := range own {
		at, ok := group.Lookup(t.name, n)
		all[n] = at.At
		if ok && at.At >= 0 {
			continue
		}
		if all[n], ok = otherwise[n]; !ok {
			return nil, fmt.Errorf("group %q has no offset for partition %d of topic %q; set offset-reset to earliest or latest, or another start", o.Group, n, t.name)
		}
	}
	return all, nil
}
