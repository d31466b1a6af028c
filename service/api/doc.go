// Package api owns the conversions between the API's messages and the domain's types, and the codes of errors. Each
// function depends on its arguments alone. The package must not know jobs, workers or stores.
//
// convert.go alone converts messages; names with In convert a message, names with Out make one. reasons.go holds the
// table of the owner machine's reasons, differences.go compares configurations and plans for people, errors.go maps
// errors to codes.
package api
