// Package strictjson reads the JSON requests of the API and refuses what it does not know: a field, or the name of an enum's value.
// The error names each unknown word by its path, with the nearest word that is known. Connect's own codec drops both in silence.
//
// It owns the codec of handlers. Clients keep Connect's: the answer of a newer daemon may have fields that they do not know. For the
// same reason unknown fields in binary requests stay allowed: a newer client sends them.
//
// It must not know any message of ours: it goes by the descriptors.
package strictjson
