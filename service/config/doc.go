// Package config owns what a job can be told by Flink's keys: reading a file with them, their defaults and limits,
// printing what is in effect, and the form that the journal keeps. Nothing else interprets that form.
//
// It must not know what a key does: package coordinator and the owner act upon the values.
//
// A key is added in one row of options (keys.go: its name, how it is read and printed), beside a field of JobConfig in
// the API and a line of Effective; then the package that acts upon it finds it in Job or Policy.
package config
