// Package layout owns the files below a root: all their names, the table of contents of a checkpoint (_metadata), and
// the marker that makes a prefix a root. It is the only place that turns jobs, checkpoints and files into keys.
//
// It must not know drivers, the protocol that decides when something is written (service/owner), or the API's
// messages.
//
//	<root>/_ckptd                       the root marker: RootMarkerKey
//	<root>/_probe/<nonce>/…             of start-up probes; does not count as content, removed by the next start
//	<root>/_tmp/…                       temporaries of stores that need names for them; do not count as content
//	<root>/<job>/                       JobPrefix; a job id is checked by ValidateJobID
//	    _journal/<slot>                 SlotKey; 20 decimal digits, the largest is the head
//	    _tmp/…                          temporaries; ignored by readers, swept
//	    chk-<N>/_metadata               MetadataKey
//	    chk-<N>/<file>                  ExclusiveKey: state of checkpoint N alone
//	    shared/<file>                   SharedKey: state that several checkpoints refer to
//	    taskowned/<file>                reserved
//
// A file is <2 hex>-<epoch>-<checkpoint>-<nonce>-<sequence>: see FileName. Inside a job, keys are relative to its
// folder ("shared/<file>", "chk-3/<file>"): see ParseJobKey.
//
// Each function that prints a name has an inverse beside it. The inverse parses exactly the names that the function
// prints.
package layout
