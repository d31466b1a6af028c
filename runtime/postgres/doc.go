// Package postgres writes records to a table of PostgreSQL: each row exactly once, or at least once with a key.
//
// It owns the names of the prepared transactions, the fence's table, the order of the statements, and what the errors
// of the server mean. It knows no daemon: its caller tells it the attempt, and when a checkpoint is complete.
//
// # Mode exactly-once
//
//	Write      BEGIN, on the first row only; rows in batches by COPY
//	PreCommit  insert a row into the fence, PREPARE TRANSACTION; the transaction's name goes into the checkpoint's state
//	Commit     COMMIT PREPARED
//
// PREPARE TRANSACTION makes a transaction durable: it outlives its session and a crash of the server. Its name is
//
//	ckptd:<job>:<operator>:<subtask>:<attempt>:<checkpoint>
//
// The row in the fence is part of the transaction, so it becomes visible with the transaction's rows. If COMMIT
// PREPARED finds no transaction, or its reply is lost, the row tells whether the transaction is committed. Transactions
// of a subtask are committed in the order of their checkpoints. So the row of a later one says the same of the earlier
// ones, whose rows are deleted. A transaction that is neither prepared nor committed is lost: ErrLost. A person decides
// then.
//
// # Mode upsert
//
// INSERT ... ON CONFLICT DO UPDATE in batches, each a transaction. PreCommit waits for the last one. After a restart
// rows are written again, which leaves the table as it was once the job has caught up. There is no key in mode
// exactly-once: a prepared transaction keeps the locks of its rows, and the next one would wait for them, in the
// goroutine that has to commit the first.
//
// # The fence
//
// The fence's table has a row for each subtask with its newest attempt. In both modes a transaction locks this row FOR
// SHARE and checks the attempt. It does so in the message that holds the PREPARE, or the INSERT of an upsert. The
// server refuses the whole message if the attempt is not the newest; a client that is suspended between two messages
// holds no lock on the fence.
//
// Restore of attempt B takes over in this order:
//
//  1. refuse, if the fence has a newer attempt than B
//  2. commit the transactions that the restored state names
//  3. roll back all other prepared transactions of this subtask's older attempts
//  4. raise the fence to B; this waits a moment for locks on the row: if they stay, end the sessions of older
//     attempts, and go to 1
//  5. end the sessions of older attempts: their open transactions may hold locks that B needs
//
// A prepared transaction keeps its lock on the fence's row. So step 4 succeeds only if no transaction of an older
// attempt is prepared, or between its check and the end of its PREPARE. After step 4 every check of an older attempt
// fails. Therefore:
//
//	Once the fence is at B, no transaction of an older attempt is prepared, and none ever will be.
//
// # Why a process of a replaced attempt does no harm
//
// Attempt A was replaced by B, which restores checkpoint R. A process still runs A and does not know of B.
// The coordinator guarantees three facts. No checkpoint of A completes once B has begun. A process receives Complete
// only for checkpoints of its own attempt. An attempt never has more than one process for a subtask. Then:
//
//   - Before step 4, A may prepare a transaction. B finds it in step 3, because step 4 waits for it. A may also commit
//     transactions that R's state names. B does the same; the second one finds no transaction, and the fence says that
//     it is committed.
//   - After step 4, A prepares nothing and upserts nothing. A COMMIT PREPARED of A finds nothing: it succeeds if the
//     fence says that B or A committed the transaction, and is ErrReplaced otherwise.
//   - The rows that A wrote and did not prepare are rolled back when its session ends: in step 5, or earlier.
//   - A's own Restore, if it is late, stops in step 1, or in step 4 if B raises the fence meanwhile. Until then it
//     touches only attempts below A. Their transactions are in R's state, or will never be committed by anybody.
//
// Transactions of other jobs, operators, subtasks, later attempts and other databases are not touched. Rescaling is not
// supported: the subtask that wrote a state restores it.
//
// # Lost connections
//
// The sink connects again, for Options.RetryTimeout, where nothing is lost with the session: in Restore, before a
// transaction begins, in Commit, and in mode upsert. A session that ends within a transaction takes its rows along;
// then the attempt fails. If the reply to PREPARE TRANSACTION is lost, pg_prepared_xacts says whether the transaction
// is prepared. If it is not yet, the attempt fails, and the next one finds it in step 3.
package postgres
