package main

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// jsonFlag adds --json.
func jsonFlag(cmd *cobra.Command, message string) {
	cmd.Flags().Bool("json", false, "print a ckptd.v1."+message+" as JSON")
}

// wantsJSON reads --json.
func wantsJSON(cmd *cobra.Command) bool {
	b, _ := cmd.Flags().GetBool("json")
	return b
}

// printJSON prints a message of the API as JSON, with every field of it: a script finds an empty list or a zero where it
// looks for one. Equal messages give equal bytes; protojson alone would vary its white space on purpose.
func printJSON(w io.Writer, m proto.Message) error {
	raw, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err = w.Write(b.Bytes())
	return err
}

// labelsText is "a=b c=d", in order.
func labelsText(labels map[string]string) string {
	var all []string
	for k, v := range labels {
		all = append(all, k+"="+v)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// orDash is "-" for a zero value, so that no cell of a table is empty.
func orDash[T comparable](v T) any {
	var zero T
	if v == zero {
		return "-"
	}
	return v
}
