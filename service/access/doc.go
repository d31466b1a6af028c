// Package access decides who may call a daemon.
//
// It owns the roles and the table that says which role each path of a daemon wants. It also owns the access file, which
// gives roles to tokens and client certificates, and the daemon's side of TLS. It must not know what a call does.
//
// # Why the guard stands before the HTTP server
//
// Every call is an HTTP request whose path is its procedure: unary calls, streams, the data plane that writes to the
// connection itself, health, reflection and metrics. One guard over the paths covers them all. An interceptor of
// Connect would not see metrics, and would see a stream only after its handler was set up.
//
// # The access file
//
// Each line has a name, roles with commas between them, and a proof. Text after # is a comment.
//
//	clicks      run          sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//	prometheus  read         token:2b1c4d6e8f0a2b1c4d6e8f0a
//	ops.example read,delete  certificate
//
// The proof sha256 is the sum of a token, token is the token itself, and certificate is a client certificate whose
// common name or alternative name is the name of the line. A name may have several lines, so that a new token works
// before the old one is withdrawn.
package access
