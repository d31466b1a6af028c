package client

import (
	"slices"

	ckptdv1 "github.com/ckptd/ckptd/proto/ckptd/v1"
)

// maxHops is how many redirects one search for an owner follows: daemons that point to each other must not keep it for ever.
const maxHops = 3

// hops counts the redirects that a search has followed.
type hops int

// may reports whether the answer is a redirect that the search may still follow, and counts it.
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

// next takes the daemon to ask now. ok is false if all were asked.
func (r *route) next() (url string, ok bool) {
	if len(r.ahead) == 0 {
		return "", false
	}
	url, r.ahead = r.ahead[0], r.ahead[1:]
	return url, true
}

// follow reads the answer of the daemon that was asked last, and reports whether it was a redirect that the route now follows.
func (r *route) follow(answer *callError) bool {
	if !r.followed.may(answer) {
		return false
	}
	r.ahead = slices.Concat(answer.notOwner.GetOwnerUrls(), r.ahead)
	return true
}

// redirect follows a daemon's word that the owner is elsewhere, and reports whether there is a daemon to follow it to.
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
