package owner

import (
	"github.com/ckptd/ckptd/layout/journal"
)

// An import from elsewhere begins from a checkpoint of another root, or of no root at all. Nobody lends there. The shell
// copies the files into the job's own shared/, named for this epoch and the import's checkpoint, and then writes the
// _metadata that names them. Until the import has ended, its checkpoint holds the floor, so no sweep takes the copies. From
// then on they are files of the job like those that its workers have uploaded.

// elsewhere tells whether the import's source lies in no job of this root.
func (s *step) elsewhere() bool { return s.head.Import.Job == "" }

// beginImport chooses the checkpoint that the import makes.
func (s *step) beginImport() {
	s.imp = importing{stage: importLending, id: s.next}
	s.next++
	if s.elsewhere() {
		s.imp.wants = []journal.Borrowed{} // nothing is to be lent
	}
}

// copied makes the copies known, now that a retained checkpoint names them. Any earlier, a sweep would take them for files
// whose last checkpoint fell.
func (s *step) copied() {
	s.index.Known = s.index.Known.Or(s.imp.copied)
}
