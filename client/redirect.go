package client

import (
	"slices"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// maxHops bounds the redirects that one search for an owner follows. Otherwise a search would never end if two daemons
// name each other.
const maxHops = 3

// hops counts the redirects that a search has followed.
type hops int

// may tells whether the answer is a redirect that the search may still follow, and counts it.
func (h *hops) may(answer *callError) bool {
	if len(answer.notOwner.GetOwnerUrls()) == 0 || *h == maxHops {
		return false
	}
	*h++
	return true
}

// route is the order in which a search asks daemons. A redirect puts the owner's URLs first.
type route struct {
	ahead    []string
	followed hops
}

// next returns the next daemon to ask. ok is false if all were asked.
func (r *route) next() (url string, ok bool) {
	if len(r.ahead) == 0 {
		return "", false
	}
	url, r.ahead = r.ahead[0], r.ahead[1:]
	return url, true
}

// follow reads the answer of the daemon that was asked last. It tells whether the answer was a redirect that the route
// now follows.
func (r *route) follow(answer *callError) bool {
	if !r.followed.may(answer) {
		return false
	}
	r.ahead = slices.Concat(answer.notOwner.GetOwnerUrls(), r.ahead)
	return true
}

// redirect takes a daemon's answer that another daemon owns the job. It tells whether the answer names one to go to.
func (j *Job) redirect(generation uint64, to *ckptdv1.NotOwner) bool {
	for _, u := range to.GetOwnerUrls() {
		e, err := j.client.endpoint(u)
		if err != nil {
			continue
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.generation != generation {
			return true
		}
		if j.owner == e {
			return false
		}
		j.owner = e
		j.generation++
		j.epoch = max(j.epoch, to.GetEpoch())
		return true
	}
	return false
}
