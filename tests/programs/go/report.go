// The report of tests/programs/__init__.py, over Go's runtime: a goroutine for each channel of samples, maps, encoding/json, os, time.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const folder = "/tmp/parts"

type statistics struct {
	Count    int     `json:"count"`
	Least    float64 `json:"least"`
	Greatest float64 `json:"greatest"`
	Mean     float64 `json:"mean"`
}

type report struct {
	Steps    int                   `json:"steps"`
	Over     int                   `json:"over"`
	Parts    map[string]int64      `json:"parts"`
	Channels map[string]statistics `json:"channels"`
	Waited   bool                  `json:"waited"`
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// aggregate reads the texts of one channel's values until there are no more, and keeps them in a file of its own.
func aggregate(name string, values <-chan string) statistics {
	part := folder + "/" + strings.ReplaceAll(name, "/", ".")
	file, err := os.OpenFile(part+".part", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	check(err)
	var found statistics
	var sum float64
	for text := range values {
		value, err := strconv.ParseFloat(text, 64)
		check(err)
		if found.Count == 0 || value < found.Least {
			found.Least = value
		}
		if found.Count == 0 || value > found.Greatest {
			found.Greatest = value
		}
		found.Count++
		sum += value
		_, err = file.WriteString(text + "\n")
		check(err)
	}
	check(file.Close())
	check(os.Rename(part+".part", part+".txt"))
	found.Mean = sum / float64(found.Count)
	return found
}

func (told *report) readSamples() {
	var params struct{ Above *float64 }
	if text, err := os.ReadFile("/in/params.json"); err == nil {
		check(json.Unmarshal(text, &params))
	}
	file, err := os.Create("/out/derived.csv")
	check(err)
	derived := bufio.NewWriter(file)
	fmt.Fprintln(derived, "time,channel,value")

	var running sync.WaitGroup
	var lock sync.Mutex
	channels := map[string]chan string{}
	rows := bufio.NewScanner(os.Stdin)
	rows.Scan()
	for rows.Scan() {
		cells := strings.Split(rows.Text(), ",")
		name, text := cells[1], cells[2]
		values, known := channels[name]
		if !known {
			values = make(chan string, 8)
			channels[name] = values
			running.Add(1)
			go func() {
				defer running.Done()
				found := aggregate(name, values)
				lock.Lock()
				defer lock.Unlock()
				told.Channels[name] = found
			}()
		}
		values <- text
		if value, err := strconv.ParseFloat(text, 64); err == nil && params.Above != nil && value > *params.Above {
			fmt.Fprintf(derived, "%s,%s.over,%s\n", cells[0], name, text)
			told.Over++
		}
	}
	check(rows.Err())
	for _, values := range channels {
		close(values)
	}
	running.Wait()
	check(derived.Flush())
	check(file.Close())
}

func (told *report) readParts() {
	entries, err := os.ReadDir(folder)
	check(err)
	for _, entry := range entries {
		info, err := entry.Info()
		check(err)
		told.Parts[entry.Name()] = info.Size()
	}
	check(os.RemoveAll(folder))
}

func (told *report) countStep() {
	state, err := os.ReadFile("/state/in")
	if !errors.Is(err, fs.ErrNotExist) {
		check(err)
		told.Steps, err = strconv.Atoi(strings.TrimSpace(string(state)))
		check(err)
	}
	told.Steps++
	check(os.WriteFile("/state/out", []byte(strconv.Itoa(told.Steps)+"\n"), 0o600))
}

func main() {
	told := report{Parts: map[string]int64{}, Channels: map[string]statistics{}}
	check(os.Mkdir(folder, 0o700))
	told.readSamples()
	told.readParts()
	told.countStep()
	began := time.Now()
	time.Sleep(50 * time.Millisecond)
	told.Waited = time.Since(began) >= 50*time.Millisecond
	check(json.NewEncoder(os.Stdout).Encode(told))
}
