package owner

// attemptState is how far the attempt of the head came under this owner.
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
// The next attempt begins without being asked for only from found and expired. A job without any attempt begins at found.
type attemptState uint8

const (
	// attemptFound: the head names the attempt, or none yet. Its workers may come back, and it goes on under this owner.
	attemptFound attemptState = iota
	// attemptExpired: its workers did not all come back in time; the next attempt begins.
	attemptExpired
	// attemptBegun: its entry is ours. It starts when every subtask has a worker.
	attemptBegun
	// attemptStarted: its workers were told to start, or it was adopted. Not all subtasks have reported that they run.
	attemptStarted
	// attemptRunning: TellAllRunning was given. A worker that is gone since then may come back.
	attemptRunning
	// attemptFailed: it has failed. The next one begins when somebody asks for it.
	attemptFailed
	// attemptWished: the next one is asked for, and its entry waits for its turn.
	attemptWished
)
