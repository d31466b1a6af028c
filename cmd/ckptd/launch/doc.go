// Package launch starts the daemon and the workers of a job on this machine, for a person who watches.
//
// It owns what the demo and `ckptd run` share: the folder for sockets and logs, this program in other roles, the lines for
// people. It must not know what a job does, nor when a process is killed.
package launch
