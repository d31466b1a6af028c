package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// named is how many unknown words one error names.
	named = 5
	// mistyped is how many letters may be wrong before fields of other messages are looked at, too.
	mistyped = 2
)

// strange says which words of a JSON object are not known to the message, and which values are not of their field's
// type. It is empty if there are none, or if the bytes are no JSON object.
func strange(b []byte, message protoreflect.MessageDescriptor) string {
	var object map[string]any
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber() // a large integer keeps its digits
	if decoder.Decode(&object) != nil {
		return ""
	}
	f := finder{root: message}
	f.message("", message, object)
	found := f.found
	if len(found) > named {
		found = append(found[:named:named], fmt.Sprintf("and %d more", len(f.found)-named))
	}
	return strings.Join(found, "; ")
}

// finder walks over a JSON value beside the descriptor of what it should be.
type finder struct {
	root  protoreflect.MessageDescriptor
	found []string
}

func (f *finder) message(path string, message protoreflect.MessageDescriptor, value any) {
	if value == nil || wellKnown(message) {
		f.wellKnown(path, message, value)
		return
	}
	object, ok := value.(map[string]any)
	if !ok {
		f.wrong(strings.TrimSuffix(path, "."), value, "an object: {…}")
		return
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		field := message.Fields().ByJSONName(key)
		if field == nil {
			field = message.Fields().ByTextName(key)
		}
		if field == nil {
			f.found = append(f.found, fmt.Sprintf("unknown field %q%s", path+key, didYouMean(f.nearestField(message, key))))
			continue
		}
		f.field(path+key, field, object[key])
	}
}

func (f *finder) field(path string, field protoreflect.FieldDescriptor, value any) {
	object, isObject := value.(map[string]any)
	list, isList := value.([]any)
	switch {
	case value == nil: // null stands for an absent field
	case field.IsMap() && isObject:
		for _, key := range slices.Sorted(maps.Keys(object)) {
			f.single(fmt.Sprintf("%s[%q]", path, key), field.MapValue(), object[key])
		}
	case field.IsMap():
		f.wrong(path, value, "an object: {…}")
	case field.IsList() && isList:
		for i, v := range list {
			f.single(fmt.Sprintf("%s[%d]", path, i), field, v)
		}
	case field.IsList():
		f.wrong(path, value, "a list: […]")
	default:
		f.single(path, field, value)
	}
}

func (f *finder) single(path string, field protoreflect.FieldDescriptor, value any) {
	switch field.Kind() {
	case protoreflect.MessageKind:
		f.message(path+".", field.Message(), value)
	case protoreflect.EnumKind:
		word, ok := value.(string)
		values := field.Enum().Values()
		if !ok {
			f.scalar(path, field, value)
			return
		}
		if values.ByName(protoreflect.Name(word)) != nil {
			return
		}
		var names []string
		for i := range values.Len() {
			names = append(names, string(values.Get(i).Name()))
		}
		hint := didYouMean(nearestEnum(names, word))
		if hint == "" {
			hint = " (want one of " + strings.Join(names, ", ") + ")"
		}
		f.found = append(f.found, fmt.Sprintf("unknown value %q of %s%s", word, path, hint))
	default:
		f.scalar(path, field, value)
	}
}

func didYouMean(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", name)
}

// wellKnown tells whether a message has a form of its own in JSON: a duration is a string, a struct has any field.
func wellKnown(message protoreflect.MessageDescriptor) bool {
	return strings.HasPrefix(string(message.FullName()), "google.protobuf.")
}

// nearestField is the known field that comes nearest to a key: of the same message, or of another one of the request,
// with its path. Other messages count only where the key is not just a misspelt field of its own.
func (f *finder) nearestField(message protoreflect.MessageDescriptor, key string) string {
	var best guess
	for i := range message.Fields().Len() {
		name := message.Fields().Get(i).JSONName()
		best.consider(name, distance(key, name), name)
	}
	if best.name != "" && best.distance <= mistyped {
		return best.name
	}
	f.fields(f.root, "", nil, func(path, name string) { best.consider(name, distance(key, name), path) })
	return best.name
}

// fields calls visit for each field of a message and of what is below it.
func (f *finder) fields(message protoreflect.MessageDescriptor, path string, above []protoreflect.FullName, visit func(path, name string)) {
	if wellKnown(message) || slices.Contains(above, message.FullName()) {
		return
	}
	above = append(above, message.FullName())
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		at := path + field.JSONName()
		visit(at, field.JSONName())
		if field.Kind() != protoreflect.MessageKind || field.IsMap() {
			continue
		}
		if field.IsList() {
			at += "[]"
		}
		f.fields(field.Message(), at+".", above, visit)
	}
}

// nearestEnum is the enum value that comes nearest to a word. The prefix that all values have may be missing.
func nearestEnum(names []string, word string) string {
	prefix := names[0]
	for _, name := range names {
		for !strings.HasPrefix(name, prefix) {
			prefix = prefix[:strings.LastIndexByte(strings.TrimSuffix(prefix, "_"), '_')+1]
		}
	}
	var best guess
	for _, name := range names {
		short := strings.TrimPrefix(name, prefix)
		best.consider(short, min(distance(word, name), distance(word, short)), name)
	}
	return best.name
}

// guess is the nearest name so far. About every third letter may differ.
type guess struct {
	name     string
	distance int
}

// consider takes what is known by a word if that is near enough, and nearer than the one before.
func (g *guess) consider(word string, distance int, name string) {
	if distance <= len(word)/3 && (g.name == "" || distance < g.distance) {
		g.name, g.distance = name, distance
	}
}

// distance counts the letters in which a written word differs from a name. Of a key of Flink's the end counts too: that
// of "execution.checkpointing.interval" is "interval".
func distance(written, name string) int {
	last := written[strings.LastIndexByte(written, '.')+1:]
	w, l, n := plain(written), plain(last), plain(name)
	if w == "" || n == "" {
		return max(len(w), len(n))
	}
	d := min(levenshtein.ComputeDistance(w, n), levenshtein.ComputeDistance(l, n))
	if len(n) >= 4 && strings.HasSuffix(w, n) {
		d = min(d, 1)
	}
	return d
}

// plain drops case and what joins words.
func plain(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(s))
}
