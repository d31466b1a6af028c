// Package oddfs mounts file systems that lack what ckptd needs (by FUSE, on Linux, as root): no hard links, names that fold case.
//
// It owns how they lack it, over a folder that they hand everything else on to. It must not know any driver.
package oddfs
