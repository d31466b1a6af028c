package shell

import "context"

// awaited is somebody who waits until a condition on the job's state is met.
type awaited struct {
	met   func() bool
	reply func()
}

// await waits until met is true. The job's goroutine calls met after each event.
func (j *Job) await(ctx context.Context, met func() bool) error {
	_, err := ask(ctx, j, func(reply func(struct{}, error)) {
		j.awaited = append(j.awaited, awaited{met, func() { reply(struct{}{}, nil) }})
		j.answerAwaited()
	})
	return err
}

// answerAwaited answers those whose condition is met.
func (j *Job) answerAwaited() {
	left := j.awaited[:0:0]
	for _, w := range j.awaited {
		if w.met() {
			w.reply()
		} else {
			left = append(left, w)
		}
	}
	j.awaited = left
}
