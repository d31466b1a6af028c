package access

import (
	"strings"

	"github.com/ckptd/ckptd/proto/ckptd/v1/ckptdv1connect"
)

// Roles is a set of roles.
type Roles uint8

// The roles. Run and Delete contain Read.
const (
	// Read is for those that look: jobs, checkpoints, status, metrics. Daemons ask each other with it.
	Read Roles = 1 << iota
	// Run is for engines: they own jobs, write and read state, and take checkpoints.
	Run
	// Delete is for those that end jobs, which may delete the job's checkpoints, and for those that change what is kept.
	Delete
)

// names are the spellings of the roles, in the order of the constants.
var names = []string{"read", "run", "delete"}

// parseRoles reads roles with commas between them.
func parseRoles(text string) (r Roles, ok bool) {
	for word := range strings.SplitSeq(text, ",") {
		i := -1
		for j, name := range names {
			if word == name {
				i = j
			}
		}
		if i < 0 {
			return 0, false
		}
		r |= 1 << i
	}
	return r | Read, true
}

// String spells the roles as parseRoles reads them.
func (r Roles) String() string {
	var words []string
	for i, name := range names {
		if r&(1<<i) != 0 {
			words = append(words, name)
		}
	}
	return strings.Join(words, ",")
}

// open marks what anybody may ask: whether the daemon lives. Probes of orchestrators have no token.
const open Roles = 0

// needed is the role that each path of the daemon's HTTP server wants. A path that is not in the table is refused to
// everybody.
var needed = map[string]Roles{
	ckptdv1connect.EngineServiceAttachJobProcedure:     Run,
	ckptdv1connect.EngineServiceRegisterProcedure:      Run,
	ckptdv1connect.EngineServiceAssignmentProcedure:    Run,
	ckptdv1connect.EngineServiceReportProcedure:        Run,
	ckptdv1connect.EngineServiceBeginSnapshotProcedure: Run,
	ckptdv1connect.EngineServiceAcknowledgeProcedure:   Run,
	ckptdv1connect.EngineServiceDeclineProcedure:       Run,
	ckptdv1connect.EngineServiceNewAttemptProcedure:    Run,
	ckptdv1connect.EngineServiceOwnsProcedure:          Read, // daemons ask this; they change nothing at each other

	// State is the data of a job's users. Those that only look at checkpoints do not need it.
	ckptdv1connect.StateServicePutStateProcedure: Run,
	ckptdv1connect.StateServiceGetStateProcedure: Run,

	ckptdv1connect.JobServiceListJobsProcedure:          Read,
	ckptdv1connect.JobServiceListCheckpointsProcedure:   Read,
	ckptdv1connect.JobServiceShowCheckpointProcedure:    Read,
	ckptdv1connect.JobServiceGetStatusProcedure:         Read,
	ckptdv1connect.JobServiceTriggerCheckpointProcedure: Run,
	ckptdv1connect.JobServiceCancelJobProcedure:         Delete,
	ckptdv1connect.JobServiceSuspendJobProcedure:        Run,

	ckptdv1connect.SavepointServiceTriggerSavepointProcedure: Run,
	ckptdv1connect.SavepointServiceListSavepointsProcedure:   Read,

	ckptdv1connect.HistoryServiceGetHistoryProcedure: Read,

	ckptdv1connect.CollectServiceCollectProcedure: Delete,

	ckptdv1connect.RetentionServiceRemoveCheckpointsProcedure:   Delete,
	ckptdv1connect.RetentionServiceUndeleteCheckpointsProcedure: Delete,
	ckptdv1connect.RetentionServiceTagCheckpointsProcedure:      Delete,
	ckptdv1connect.RetentionServicePurgeJobProcedure:            Delete,
	ckptdv1connect.RetentionServiceDropStalePinsProcedure:       Delete,

	"/metrics":                     Read,
	"/healthz":                     open,
	"/readyz":                      open,
	"/grpc.health.v1.Health/Check": open,
	"/grpc.health.v1.Health/Watch": open,
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      Read,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Read,
}

// Needed returns the role that a path wants: a procedure of the API, or another path of the daemon. ok is false if the
// table has no such path.
func Needed(path string) (r Roles, ok bool) {
	r, ok = needed[path]
	return r, ok
}
