// Package exchange carries records between the subtasks of a job: partitioned by key group, in order per channel, with back
// pressure, over sockets or within a process.
//
// It owns the frames and how records lie in them, the bounded queue of each input channel (Gate), the partitioning of outputs
// (Writer), and the handshake by which a channel of another job or attempt is kept out (Server). It must not know operators,
// state, checkpoints beyond their numbers, or the daemon.
//
//	subtask A               subtask B
//	Writer ── Link ───────▶ Gate channel 0      same process: the frame itself is handed over
//	      └── Link ─ conn ─▶ Server ─▶ Gate     other process: one connection a channel
//
// One connection a channel is what makes back pressure simple and right: a channel that is blocked by the alignment of a
// checkpoint fills its own queue and its own connection, and delays no other.
package exchange
