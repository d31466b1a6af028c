package journal

// Reading is how far a ReadHead came.
type Reading uint8

// How far.
const (
	// ReadMore: an operation is under way.
	ReadMore Reading = iota
	// ReadDone: Head is the head.
	ReadDone
	// ReadEmpty: there is no journal, and nothing else of the job either.
	ReadEmpty
	// ReadForeign: there is no journal, but the job's folder is not empty. Nothing may be changed.
	ReadForeign
	// ReadCorrupt: the head cannot be read. Nothing may be changed.
	ReadCorrupt
	// ReadNewer: the head asks for a newer version. Nothing may be changed.
	ReadNewer
)

// ReadHead finds the head: LIST, GET the largest, LIST again. The zero value is ready to Begin.
type ReadHead struct {
	state   readState
	slot    uint64
	atLeast uint64
	got     Outcome
	entry   *Entry
	shown   []uint64
}

type readState uint8

const (
	readIdle readState = iota
	readList
	readGet
	readListAgain
)
