package main

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// figures is what a run said.
type figures struct {
	names  []string                        // of benchmarks, as they came, without "Benchmark" and the number of cores
	values map[string]map[string][]float64 // by name and unit, one of each time
	facts  map[string][]string             // cpu, date, load, took: of `go test`, and of this program
	cores  int
}

// A test of memory says "N bytes for each WHAT; the budget is M"; that becomes a figure of Memory/WHAT.
var (
	benchmarkLine = regexp.MustCompile(`^Benchmark(\S+?)(-\d+)?\s+\d+\s+(.*)$`)
	factLine      = regexp.MustCompile(`^(cpu|date|load|took): (.*)$`)
	memoryLine    = regexp.MustCompile(`(\d+) bytes for each (.*?); the budget is (\d+)`)
)

func parse(said string) figures {
	f := figures{values: map[string]map[string][]float64{}, facts: map[string][]string{}}
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if m := benchmarkLine.FindStringSubmatch(line); m != nil {
			f.add(m[1], strings.Fields(m[3]))
			f.cores, _ = strconv.Atoi(strings.TrimPrefix(m[2], "-"))
		} else if m := factLine.FindStringSubmatch(line); m != nil {
			f.facts[m[1]] = append(f.facts[m[1]], m[2])
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

// of is the median of a figure over the times it was measured; ok is false if it was not.
func (f *figures) of(name, unit string) (value float64, ok bool) {
	all := slices.Clone(f.values[name][unit])
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	return all[len(all)/2], true
}
