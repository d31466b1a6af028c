// Package layout owns the files below a root: all their names, the table of contents of a checkpoint (_metadata), and
// the marker that makes a prefix a root. It is the only place that turns jobs, checkpoints and files into keys.
//
// It must not know drivers, the protocol that decides when something is written (service/owner), or the API's
// messages.
//
//	<root>/_ckptd                       the root marker: RootMarkerKey
//	<root>/_probe/<nonce>/…             of start-up probes; does not count as content, removed by the next start
//	<root>/_probe/proof-<nonce>         of calls to a daemon (ProveRoot); a start removes those that are an hour old
//	<root>/_audit/<time>-<nonce>.jsonl  what people have deleted; written before the deletes are issued (package auditlog)
//	<root>/_tmp/…                       temporaries of stores that need names for them; do not count as content
//	<root>/<job>/                       JobPrefix; a job id is checked by ValidateJobID
//	    _journal/<slot>                 SlotKey; 20 decimal digits, the largest is the head
//	    _tmp/…                          temporaries; ignored by readers, swept
//	    chk-<N>/_metadata               MetadataKey
//	    chk-<N>/<file>                  ExclusiveKey: state of checkpoint N alone
//	    shared/<file>                   SharedKey: state that several checkpoints refer to
//	    taskowned/<file>                reserved
//	    _history/<segment>              HistoryKey: what became of checkpoints, for people (package history)
//
// A file is <2 hex>-<epoch>-<checkpoint>-<nonce>-<sequence>: see FileName. Inside a job, keys are relative to its
// folder ("shared/<file>", "chk-3/<file>"): see ParseJobKey.
//
// Each function that prints a name has an inverse beside it. The inverse parses exactly the names that the function
// prints.
//
// # The table of contents of a checkpoint
//
// A _metadata is a sequence of records, each with a checksum of all before it; proto/ckptd/stored/v1/metadata.proto has
// the bytes. MetadataWriter writes one as a stream, MetadataReader reads one in bounded memory. The order of the
// records:
//
//	Header                  job, checkpoint, epoch, attempt, nonce
//	Job                     labels
//	for each operator of the plan:
//	    Operator            id, parallelism, max parallelism
//	    for each subtask, from 0 to the last:
//	        File …          each file once, before the first handle that refers to it
//	        Subtask …       its handles, or that it had finished
//	end                     counts; without it the file is not complete
//
// A File lies in one of three places:
//
//   - An own file lies in the folder of the job. It was written in this epoch or an earlier one, for this checkpoint or an
//     earlier one, as its name says. An exclusive file was written for this checkpoint. Only own files are the job's to
//     promise and to delete.
//   - A lent file lies in the folder of another job, and the record names that job. The other job counts its own epochs and
//     checkpoints, so that they are not compared with this job's.
//   - A file of a savepoint may lie beside the _metadata. The record has its name alone, so that the folder can be moved.
//
// A compressed file has a frame table: its codec, the size of each frame in the file, and the size when it is
// decompressed.
//
// A Handle is one piece of state of one subtask: a whole file, a segment of a file (offset and length), or inline
// bytes. It names its kind in Flink's words, and what goes with it:
//
//	kind of state           key groups   channel                  offsets, with mode
//	managed keyed           yes          no                       no
//	raw keyed               yes          no                       no
//	list                    no           no                       if told: split
//	union                   no           no                       if told: union
//	broadcast               no           no                       if told: broadcast
//	input channel           no           gate, channel            if told: no mode
//	result subpartition     no           partition, subpartition  if told: no mode
//	source reader           no           no                       if told: any
//	sink transactions       no           no                       if told: any
//	opaque                  no           no                       no
//
// Each may tell the state's name, its serializer and the version of its schema. Offsets say where the elements of a
// list begin within the piece; they ascend.
//
// One checker holds all these rules, for the writer and for the reader: the writer writes nothing that the reader would
// refuse. CheckHandle and CheckFile are the part of it that needs no table of files; a daemon uses them for handles that
// come from an engine.
//
// What a hostile _metadata can make a reader hold is bounded: MaxInline, MaxOffsets, MaxFrames, MaxFiles, and the
// limits in metadata.go. A kind of record, file, state, mode or location that the reader does not know is
// ErrUnknownKind, never a guess.
package layout
