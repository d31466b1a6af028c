package strictjson

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// longest is how many letters of a wrong value an error shows.
const longest = 60

// wrong notes that the value of a field is of another type than the field.
func (f *finder) wrong(path string, value any, want string) {
	text, err := json.Marshal(value)
	if err != nil {
		text = []byte("?")
	}
	if len(text) > longest {
		text = append(text[:longest:longest], "…"...)
	}
	f.found = append(f.found, fmt.Sprintf("wrong value %s of %s (want %s)", text, path, want))
}

// scalar checks the value of a field that holds a text, bytes, a number, a yes or no, or the number of an enum's value.
func (f *finder) scalar(path string, field protoreflect.FieldDescriptor, value any) {
	if value == nil {
		return
	}
	text, isText := value.(string)
	_, isBool := value.(bool)
	switch kind := field.Kind(); kind {
	case protoreflect.StringKind:
		if !isText {
			f.wrong(path, value, "a text in quotes")
		}
	case protoreflect.BytesKind:
		if _, err := base64.StdEncoding.DecodeString(text); !isText || err != nil {
			f.wrong(path, value, "bytes in base64, in quotes")
		}
	case protoreflect.BoolKind:
		if !isBool {
			f.wrong(path, value, "true or false, without quotes")
		}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		if _, err := strconv.ParseFloat(numeral(value), 64); err != nil {
			f.wrong(path, value, "a number")
		}
	case protoreflect.EnumKind:
		f.integer(path, value, -1<<31, 1<<31-1)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		f.integer(path, value, 0, 1<<32-1)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		f.integer(path, value, 0, 1<<64-1)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		f.integer(path, value, -1<<31, 1<<31-1)
	default:
		f.integer(path, value, -1<<63, 1<<63-1)
	}
}

// numeral is the text of a number, with or without quotes; empty: the value is no number.
func numeral(value any) string {
	switch v := value.(type) {
	case json.Number:
		return v.String()
	case string:
		return v
	}
	return ""
}

func (f *finder) integer(path string, value any, least int64, most uint64) {
	n, err := strconv.ParseFloat(numeral(value), 64) // 1e3 is a whole number, too
	if err != nil || n != math.Trunc(n) || n < float64(least) || n > float64(most) {
		f.wrong(path, value, fmt.Sprintf("a whole number from %d to %d", least, most))
	}
}

// duration is protobuf's form of a duration.
var duration = regexp.MustCompile(`^-?\d+(\.\d{1,9})?s$`)

// wellKnown checks the value of a message that has a form of its own in JSON.
func (f *finder) wellKnown(path string, message protoreflect.MessageDescriptor, value any) {
	path = strings.TrimSuffix(path, ".")
	text, isText := value.(string)
	switch {
	case value == nil:
	case message.FullName() == "google.protobuf.Duration" && !(isText && duration.MatchString(text)):
		f.wrong(path, value, `a duration in seconds, in quotes, like "0.5s"`)
	case message.FullName() == "google.protobuf.Timestamp":
		if _, err := time.Parse(time.RFC3339Nano, text); !isText || err != nil {
			f.wrong(path, value, `a time in quotes, like "2026-01-31T12:00:00Z"`)
		}
	}
}
