package coordinator

// Reason is why a checkpoint failed, by Flink's names.
type Reason string

// The reasons that ckptd itself gives. A worker may decline with any of Flink's.
const (
	ReasonTooManyRequests      Reason = "TOO_MANY_CHECKPOINT_REQUESTS"
	ReasonMinPause             Reason = "MINIMUM_TIME_BETWEEN_CHECKPOINTS"
	ReasonNotAllRunning        Reason = "NOT_ALL_REQUIRED_TASKS_RUNNING"
	ReasonIO                   Reason = "IO_EXCEPTION"
	ReasonAsync                Reason = "CHECKPOINT_ASYNC_EXCEPTION"
	ReasonExpired              Reason = "CHECKPOINT_EXPIRED"
	ReasonSubsumed             Reason = "CHECKPOINT_SUBSUMED"
	ReasonDeclined             Reason = "CHECKPOINT_DECLINED"
	ReasonDeclinedTaskNotReady Reason = "CHECKPOINT_DECLINED_TASK_NOT_READY"
	ReasonShutdown             Reason = "CHECKPOINT_COORDINATOR_SHUTDOWN"
	ReasonSuspend              Reason = "CHECKPOINT_COORDINATOR_SUSPEND"
	ReasonFailover             Reason = "JOB_FAILOVER_REGION"
	ReasonFinalize             Reason = "FINALIZE_CHECKPOINT_FAILURE"
	ReasonTriggerFailed        Reason = "TRIGGER_CHECKPOINT_FAILURE"
)

// Reasons answers all of Flink's reasons and whether each counts against the tolerable failures.
func Reasons() map[Reason]bool {
	return map[Reason]bool{
		"PERIODIC_SCHEDULER_SHUTDOWN":                  false,
		ReasonTooManyRequests:                          false,
		ReasonMinPause:                                 false,
		ReasonNotAllRunning:                            false,
		ReasonIO:                                       true,
		"BLOCKING_OUTPUT_EXIST":                        false,
		ReasonAsync:                                    true,
		"CHANNEL_STATE_SHARED_STREAM_EXCEPTION":        false,
		ReasonExpired:                                  true,
		ReasonSubsumed:                                 false,
		ReasonDeclined:                                 true,
		ReasonDeclinedTaskNotReady:                     false,
		"CHECKPOINT_DECLINED_TASK_CLOSING":             false,
		"CHECKPOINT_DECLINED_SUBSUMED":                 false,
		"CHECKPOINT_DECLINED_ON_CANCELLATION_BARRIER":  false,
		"CHECKPOINT_DECLINED_INPUT_END_OF_STREAM":      false,
		ReasonShutdown:                                 false,
		ReasonSuspend:                                  false,
		ReasonFailover:                                 false,
		"TASK_FAILURE":                                 false,
		"TASK_CHECKPOINT_FAILURE":                      false,
		"UNKNOWN_TASK_CHECKPOINT_NOTIFICATION_FAILURE": false,
		ReasonFinalize:                                 true,
		ReasonTriggerFailed:                            false,
	}
}

// ParseReason returns the reason that a worker gave. An empty or unknown one counts as CHECKPOINT_DECLINED.
func ParseReason(s string) Reason {
	if _, ok := Reasons()[Reason(s)]; ok {
		return Reason(s)
	}
	return ReasonDeclined
}

// counted reports whether a failure counts against the tolerable ones.
func (r Reason) counted() bool { return Reasons()[r] }
