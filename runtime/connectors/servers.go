package connectors

import (
	"context"
	"maps"
	"time"

	"github.com/ckptd/ckptd/runtime"
	"github.com/ckptd/ckptd/runtime/kafka"
	"github.com/ckptd/ckptd/runtime/postgres"
	"github.com/ckptd/ckptd/runtime/state"
)

// KafkaSource reads a topic.
type KafkaSource struct{ kafka.SourceOptions }

// Rebase implements Rebaser.
func (o *KafkaSource) Rebase(folder string) { o.Properties = rebased(folder, o.Properties) }

// OpenSource implements Source.
func (o *KafkaSource) OpenSource(s runtime.Subtask) (state.Source, error) {
	source, err := kafka.OpenSource(context.Background(), o.SourceOptions, kafkaSubtask(s))
	if err != nil {
		return nil, err // and no source, which a nil *kafka.Source would be
	}
	return source, nil
}

// KafkaSink writes to a topic.
type KafkaSink struct{ kafka.SinkOptions }

// Rebase implements Rebaser.
func (o *KafkaSink) Rebase(folder string) { o.Properties = rebased(folder, o.Properties) }

// CheckpointEvery implements Paced.
func (o *KafkaSink) CheckpointEvery(interval time.Duration) { o.CheckpointInterval = interval }

// OpenSink implements Sink.
func (o *KafkaSink) OpenSink(s runtime.Subtask) (state.Sink, error) {
	sink, err := kafka.NewSink(o.SinkOptions, kafkaSubtask(s))
	if err != nil {
		return nil, err
	}
	return sink, nil
}

func kafkaSubtask(s runtime.Subtask) kafka.Subtask {
	return kafka.Subtask{Job: s.Job, Operator: s.Operator, Index: s.Index, Parallelism: s.Parallelism, Restored: s.Restored}
}

// rebased makes the paths of certificates absolute.
func rebased(folder string, p kafka.Properties) kafka.Properties {
	p = maps.Clone(p)
	for _, name := range []string{"ssl.truststore.location", "ssl.keystore.location"} {
		if path, ok := p[name]; ok {
			p[name] = below(folder, path)
		}
	}
	return p
}

// PostgresSink writes to a table.
type PostgresSink struct{ postgres.Options }

// OpenSink implements Sink.
func (o *PostgresSink) OpenSink(s runtime.Subtask) (state.Sink, error) {
	sink, err := postgres.NewSink(o.Options, postgres.Subtask{Job: s.Job, Operator: s.Operator, Index: s.Index, Parallelism: s.Parallelism})
	if err != nil {
		return nil, err
	}
	return sink, nil
}
