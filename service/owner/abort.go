package owner

// abort aborts a pending checkpoint, unless its entry is being published. Its files stay in the index until the next
// completion.
func (s *step) abort(id uint64, why Reason) {
	if !s.drop(id) {
		return
	}
	s.emit(Op{Kind: TellAbort, ID: id, Last: id, Latest: s.head.Newest(), Attempt: s.head.Attempt, Epoch: s.head.Epoch, Reason: why})
}

func (s *step) abortAll(why Reason) {
	for _, p := range s.pending {
		s.abort(p.ID, why)
	}
	s.refuseTrigger(why)
}

// drop forgets a pending checkpoint that is not unresolved. It answers whether there was one.
func (s *step) drop(id uint64) bool {
	i, p := s.find(id)
	if i < 0 || p.State == PendingUnresolved {
		return false
	}
	s.pending = without(s.pending, func(q Pending) bool { return q.ID == id })
	s.endPromise(id)
	switch p.State {
	case PendingSaving:
		s.unansweredSaves = with(s.unansweredSaves, id)
		if p.stops() {
			s.condemnMeta(id)
		}
	case PendingWriting:
		if !s.cfg.off.unansweredMetas {
			s.unansweredMetas = with(s.unansweredMetas, id)
		}
	case PendingReady:
		if !p.Savepoint() || p.stops() {
			s.condemnMeta(id)
		}
	}
	return true
}
