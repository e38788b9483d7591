package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

const rowFormat = "%-46s %10s %10s %10s   %s\n"

func header() {
	fmt.Printf("load of the machine at the start: %s\n", load())
	fmt.Printf(rowFormat, "row", "median", "p10", "p90", "aim")
}

// row prints one measured quantity; aim is empty where there is none. Of few values the spread is all of them.
func row[T int64 | float64 | time.Duration](name, aim string, format func(T) string, values []T) {
	slices.Sort(values)
	steps := len(values) - 1
	fmt.Printf(rowFormat, name, format(values[steps/2]), format(values[steps*10/100]), format(values[(steps*90+99)/100]), aim)
}

func short(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

func ratio(r float64) string { return fmt.Sprintf("%.2f", r) }

func perSecond(rate float64) string { return fmt.Sprintf("%.0f/s", rate) }

// load is the machine's own word on how busy it is: figures of a busy one say little.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
