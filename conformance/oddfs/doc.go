// Package oddfs mounts file systems that lack what ckptd needs: hard links, or names that differ in upper and lower
// case. It uses FUSE, on Linux, as root.
//
// It owns what is missing; every other call goes to a real folder. It must not know any driver.
package oddfs
