// Package exchange carries records between the subtasks of a job: partitioned by key group, in order within a
// channel, with back pressure, over sockets or within a process.
//
// It owns the frames and the form of records in them, the bounded queue of each input channel (Gate), and the
// partitioning of outputs (Writer). It also owns the handshake that refuses channels of another job or attempt
// (Server). It must not know operators, state or the daemon; of checkpoints it knows only the numbers.
//
//	subtask A               subtask B
//	Writer ── Link ───────▶ Gate channel 0      same process: the frame itself is handed over
//	      └── Link ─ conn ─▶ Server ─▶ Gate     other process: one connection a channel
//
// With one connection for each channel, back pressure is simple and correct. A channel that is blocked by the
// alignment of a checkpoint fills its own queue and its own connection, and delays no other channel.
package exchange
