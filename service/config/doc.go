// Package config owns Flink's keys for a job's configuration. It reads files with these keys, knows their defaults and
// limits, prints the configuration in effect, and makes the form that the journal keeps. No other package interprets
// that form.
//
// It must not know what a key does. Package coordinator and package owner act upon the values.
//
// A file of Flink's also has keys for other parts of Flink, which are passed over, and keys that ckptd lacks, which are
// refused by name (others.go). A key that nobody knows is refused with the key that was probably meant (hint.go).
//
// A new key needs a field of JobConfig in the API, a row of options (keys.go, restarts.go: its name, how it is read and
// printed), and a line of Effective. The package that acts upon the key finds its value in Job or Policy.
package config
