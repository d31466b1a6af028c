// Package config owns what a job can be told by Flink's keys: reading a file with them, their defaults and limits, and printing
// what is in effect.
//
// It must not know what a key does: package coordinator and the owner act upon the values.
package config
