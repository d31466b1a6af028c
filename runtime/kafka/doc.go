// Package kafka reads records from a topic of Apache Kafka and writes records to one: a state.Source and a state.Sink.
//
// It owns the options in Kafka's words, the position of a source, and the names of transactions. It decides whether a
// transaction of a dead attempt is committed or aborted. It knows no daemon: its caller tells it the attempt, and when a
// checkpoint is complete. The client is franz-go.
//
// # The source
//
// Subtask i of p reads the partitions whose number modulo p is i. Its position holds the next offset of each partition.
// A restored source continues at these offsets and never asks the group where to continue. After a checkpoint is
// complete, the source commits the offsets to the group, if one is named, so that people can watch the lag.
//
// # The sink's transactions
//
//	Write      begins a transaction with the first record after a barrier
//	PreCommit  waits until the brokers have all records; the transaction stays open. Its transactional id, producer id
//	           and epoch go into the checkpoint's state.
//	Commit     ends the transaction.
//	Restore    commits each transaction that the state names, by a request with its producer id and epoch. Then it aborts
//	           the transactions of lower attempts.
//
// The transactional id is ckptd/JOB/OPERATOR/SUBTASK/ATTEMPT/NUMBER. NUMBER counts the producers of one attempt; a sink
// uses a producer again once no newer checkpoint can name its transaction. No two transactions have the same
// transactional id, producer id and epoch.
//
// # Why a process of a replaced attempt does no harm
//
// Attempt A was replaced by B, which restores checkpoint R. A process still runs A and does not know of B. The
// coordinator guarantees that no checkpoint of A completes once B has begun, and that A commits only checkpoints of A.
//
//   - Kafka lets the newest producer of a transactional id fence the older one, whoever is newer. The attempt is part of the id,
//     so the process of A cannot fence or abort a producer of B.
//   - Transactions that R's state names belong to a complete checkpoint. A and B may both commit them.
//   - B initialises the other transactional ids of lower attempts that hold anything. That aborts their transactions and fences the
//     producers of A.
//   - A producer that A begins later cannot commit. It delays readers with isolation.level=read_committed until its transaction
//     times out, or until the next attempt aborts it.
//
// # Was it committed?
//
// A broker may refuse the commit of a restored transaction, because somebody has ended it. It may be committed, as after the
// restore of an older checkpoint. It may be aborted, as after its timeout, and then its records are lost. The log of the partitions
// knows which: the answer to a fetch names the aborted transactions. Restore reads it and fails for an aborted transaction.
package kafka
