package storagetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/ai-coding-worker/ai-coding-worker/storage"
)

const racers = 40

// race lets all racers call try at the same moment, and returns who won; each loser must have lost by a conflict.
func race(t *testing.T, try func(racer int) error) []int {
	t.Helper()
	var wins []int
	var mu sync.Mutex
	var done sync.WaitGroup
	start := make(chan struct{})
	for racer := range racers {
		done.Go(func() {
			<-start
			err := try(racer)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				wins = append(wins, racer)
			} else if !errors.Is(err, storage.ErrConflict) {
				t.Errorf("racer %d: %v", racer, err)
			}
		})
	}
	close(start)
	done.Wait()
	return wins
}

func testRacingCreators(t *testing.T, s storage.Store) {
	wins := race(t, func(racer int) error {
		_, err := s.PutIf(t.Context(), "race/created", fmt.Append(nil, racer), storage.IfAbsent)
		return err
	})
	wantWinner(t, s, "race/created", wins)
}

func testRacingMovers(t *testing.T, s storage.Store) {
	version, err := s.PutIf(t.Context(), "race/moved", []byte("start"), storage.IfAbsent)
	if err != nil {
		t.Fatal(err)
	}
	wins := race(t, func(racer int) error {
		_, err := s.PutIf(t.Context(), "race/moved", fmt.Append(nil, racer), storage.IfVersion(version))
		return err
	})
	wantWinner(t, s, "race/moved", wins)
}

func wantWinner(t *testing.T, s storage.Store, key string, wins []int) {
	t.Helper()
	if len(wins) != 1 {
		t.Fatalf("racers %v have won, want exactly one", wins)
	}
	if got, _ := get(t, s, key); got != fmt.Sprint(wins[0]) {
		t.Errorf("racer %d has won, but %s is stored", wins[0], got)
	}
}

// testCounter lets some count by compare-and-set: no count may be lost.
func testCounter(t *testing.T, s storage.Store) {
	const counters, each = 4, 10
	if _, err := s.PutIf(t.Context(), "counter", []byte("0"), storage.IfAbsent); err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	for range counters {
		done.Go(func() {
			for n := 0; n < each && !t.Failed(); {
				if Count(t, s, "counter") {
					n++
				}
			}
		})
	}
	done.Wait()
	if got, _ := get(t, s, "counter"); got != fmt.Sprint(counters*each) {
		t.Errorf("counted to %s, want %d", got, counters*each)
	}
}

// Count adds one to the number that is stored under the key, and tells whether it was the first to do so.
func Count(t testing.TB, s storage.Store, key string) bool {
	t.Helper()
	got, info := get(t, s, key)
	var n int
	if _, err := fmt.Sscan(got, &n); err != nil {
		t.Errorf("%s holds %q: %v", key, got, err)
		return false
	}
	_, err := s.PutIf(t.Context(), key, fmt.Append(nil, n+1), storage.IfVersion(info.Version))
	if err != nil && !errors.Is(err, storage.ErrConflict) {
		t.Error(err)
	}
	return err == nil
}
