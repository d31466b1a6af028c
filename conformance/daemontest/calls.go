package daemontest

import (
	"net/http"
	"path"
	"sync"
)

// CallFault says how a call ends.
type CallFault uint8

const (
	// Answered: the call is carried out and answered.
	Answered CallFault = iota
	// NotCarriedOut: the connection breaks before the daemon does anything.
	NotCarriedOut
	// ReplyLost: the daemon carries the call out, and the connection breaks before the answer.
	ReplyLost
)

// calls breaks calls as the test wishes.
type calls struct {
	mu     sync.Mutex
	decide func(procedure string) CallFault
}

func (c *calls) set(decide func(procedure string) CallFault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decide = decide
}

func (c *calls) fault(procedure string) CallFault {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.decide == nil || procedure == "Register" {
		return Answered
	}
	return c.decide(procedure)
}

func (c *calls) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch c.fault(path.Base(r.URL.Path)) {
		case NotCarriedOut:
			breakOff(w)
		case ReplyLost:
			h.ServeHTTP(&lost{ResponseWriter: w, header: http.Header{}}, r)
			breakOff(w)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

// breakOff breaks the connection of a call. A panic alone would first wait for the body of a request that waits for 100
// Continue.
func breakOff(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: the stream ends
	}
	conn.Close()
}

// lost takes an answer and sends nothing of it. Only the words before an answer pass: a stream of state waits for 100
// Continue before it sends its bytes.
type lost struct {
	http.ResponseWriter
	header http.Header
}

func (l *lost) Header() http.Header         { return l.header }
func (l *lost) Write(p []byte) (int, error) { return len(p), nil }
func (l *lost) Flush()                      {}

// WriteHeader passes informational statuses only.
func (l *lost) WriteHeader(status int) {
	if status < http.StatusOK {
		l.ResponseWriter.WriteHeader(status)
	}
}

// Unwrap lets http.ResponseController reach the connection.
func (l *lost) Unwrap() http.ResponseWriter { return l.ResponseWriter }
