package owner

// off switches rules off. Nothing but a test sets it, to see the search find what the rule is for.
type off struct{}
