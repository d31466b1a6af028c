package owner

// attemptState is the progress of the head's attempt under this owner.
//
//	        registrations expire
//	found ------------------------> expired
//	  |  \                             |
//	  |   \ a process of another       | next entry won
//	  |    \ attempt has registered    v
//	  |     `----------------------> begun <------- next entry won --- wished
//	  | all its workers                |  \                               ^
//	  | have registered                |   `- failover -----.            |
//	  v       every subtask has a      v                    v            |
//	started <-- worker ----------------'                  failed --------|
//	  |  `------- failover, or a process is replaced -------^            |
//	  | all subtasks run                                    |            |
//	  v                                                     |            |
//	running ---- failover, or a process is replaced --------'            |
//	  `------------- EventNewAttempt: from every state ------------------'
//
// From found and expired the owner begins the next attempt by itself; from all others only when somebody asks for it. A
// job without any attempt begins at found.
type attemptState uint8

const (
	// attemptFound: the head names the attempt, or none yet. If all its workers come back, this owner adopts it.
	attemptFound attemptState = iota
	// attemptExpired: the attempt's workers did not all come back in time. The owner begins the next attempt.
	attemptExpired
	// attemptBegun: this owner has appended the attempt's entry. The attempt starts when every subtask has a worker.
	attemptBegun
	// attemptStarted: the owner has sent Start to the workers, or has adopted the attempt. Not all subtasks have
	// reported that they run.
	attemptStarted
	// attemptRunning: the owner has emitted TellAllRunning. A worker that has gone since then may come back.
	attemptRunning
	// attemptFailed: the attempt has failed. The next one begins when somebody asks for it.
	attemptFailed
	// attemptWished: somebody has asked for the next attempt. Its entry waits until another append has ended.
	attemptWished
)
