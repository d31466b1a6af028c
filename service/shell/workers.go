package shell

import (
	"slices"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// workers are the worker processes of one job. The owner machine knows them by numbers, the API by nonces.
type workers struct {
	sessions map[uint32]*session // by worker number: the sessions whose streams have not ended
	numbers  map[string]uint32   // worker numbers, by the nonce of the process
}

func newWorkers() workers {
	return workers{sessions: map[uint32]*session{}, numbers: map[string]uint32{}}
}

// begin adds a session and gives its process a number. If the same process had a session before, its stream ends.
func (w *workers) begin(s *session) {
	n, known := w.numbers[s.nonce]
	if !known {
		n = uint32(len(w.numbers) + 1)
		w.numbers[s.nonce] = n
	}
	if old := w.sessions[n]; old != nil {
		old.out.close()
	}
	s.number = n
	w.sessions[n] = s
}

// end removes a session whose stream has ended. It reports false if another session of the same process has replaced
// it.
func (w *workers) end(s *session) bool {
	if w.sessions[s.number] != s {
		return false
	}
	delete(w.sessions, s.number)
	return true
}

// numbered returns the session of the process with this number; nil: its stream has ended.
func (w *workers) numbered(number uint32) *session { return w.sessions[number] }

// named returns the session of the process with this nonce; nil: it has none.
func (w *workers) named(nonce string) *session { return w.sessions[w.numbers[nonce]] }

// number returns the number of the process with this nonce; 0: it never registered.
func (w *workers) number(nonce string) uint32 { return w.numbers[nonce] }

// nonce returns the nonce of the process with this number.
func (w *workers) nonce(number uint32) string {
	for nonce, n := range w.numbers {
		if n == number {
			return nonce
		}
	}
	return ""
}

// adopted notes that all workers run an attempt that this owner has adopted.
func (w *workers) adopted(attempt uint64) {
	for _, s := range w.sessions {
		s.attempt = attempt
	}
}

// begun reports whether a registered process has begun the checkpoint with an earlier owner.
func (w *workers) begun(checkpoint uint64) bool {
	for _, s := range w.sessions {
		if slices.Contains(s.begun, checkpoint) {
			return true
		}
	}
	return false
}

// none reports whether no stream is open.
func (w *workers) none() bool { return len(w.sessions) == 0 }

// send sends a command to the worker with this number, or to all whose streams are open if the number is 0.
func (w *workers) send(number uint32, m *ckptdv1.RegisterResponse) {
	if number != 0 {
		if s := w.sessions[number]; s != nil {
			s.out.put(m)
		}
		return
	}
	for _, s := range w.sessions {
		s.out.put(m)
	}
}

// close ends all streams, when the commands that were sent have gone out.
func (w *workers) close() {
	for _, s := range w.sessions {
		s.out.close()
	}
}
