package main

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// figures are the results of a run.
type figures struct {
	names       []string                        // of benchmarks, in the order of the output, without "Benchmark" and "-cores"
	values      map[string]map[string][]float64 // by name and unit, one value for each run
	environment map[string][]string             // cpu, date, load and took: from `go test`, and from this program
	cores       int
}

// The output of a test of memory, "N bytes for each WHAT; the budget is M", becomes a figure of Memory/WHAT.
var (
	benchmarkLine   = regexp.MustCompile(`^Benchmark(\S+?)(-\d+)?\s+\d+\s+(.*)$`)
	environmentLine = regexp.MustCompile(`^(cpu|date|load|took): (.*)$`)
	memoryLine      = regexp.MustCompile(`(\d+) bytes for each (.*?); the budget is (\d+)`)
)

func parse(output string) figures {
	f := figures{values: map[string]map[string][]float64{}, environment: map[string][]string{}}
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if m := benchmarkLine.FindStringSubmatch(line); m != nil {
			f.add(m[1], strings.Fields(m[3]))
			f.cores, _ = strconv.Atoi(strings.TrimPrefix(m[2], "-"))
		} else if m := environmentLine.FindStringSubmatch(line); m != nil {
			f.environment[m[1]] = append(f.environment[m[1]], m[2])
		} else if m := memoryLine.FindStringSubmatch(line); m != nil {
			f.addValue("Memory/"+m[2], "bytes", m[1])
			f.addValue("Memory/"+m[2], "budget", m[3])
		}
	}
	return f
}

// add takes "VALUE UNIT VALUE UNIT".
func (f *figures) add(name string, pairs []string) {
	for pair := range slices.Chunk(pairs, 2) {
		if len(pair) == 2 {
			f.addValue(name, pair[1], pair[0])
		}
	}
}

func (f *figures) addValue(name, unit, text string) {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return
	}
	if f.values[name] == nil {
		f.names = append(f.names, name)
		f.values[name] = map[string][]float64{}
	}
	f.values[name][unit] = append(f.values[name][unit], value)
}

// of returns the median of a figure over its runs; ok is false if it was not measured.
func (f *figures) of(name, unit string) (value float64, ok bool) {
	all := slices.Clone(f.values[name][unit])
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	return all[len(all)/2], true
}
