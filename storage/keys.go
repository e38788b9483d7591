package storage

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

const (
	sessionPrefix  = "session-"
	metadataName   = ".session-metadata.json"
	segmentName    = ".stream-events.jsonl."
	abortName      = ".abort."
	snapshotFolder = "snapshot/"
)

var idPattern = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\z`)

// ValidID tells whether a session can have this ID: a letter or digit, then at most 127 letters, digits, dots,
// underscores and hyphens, and no two dots in a row.
func ValidID(id string) bool { return idPattern.MatchString(id) && !strings.Contains(id, "..") }

func checkID(id string) error {
	if !ValidID(id) {
		return fmt.Errorf("no session can have the ID %q: %w", id, ErrNotFound)
	}
	return nil
}

// sessionKey is the key of one of a session's objects; the ID must be valid.
func sessionKey(id, name string) string { return sessionPrefix + id + "/" + name }

func metadataKey(id string) string { return sessionKey(id, metadataName) }

// segmentsKey is what the keys of all segments of a session begin with.
func segmentsKey(id string) string { return sessionKey(id, segmentName) }

// attemptKey is what the keys of all segments of one attempt begin with.
func attemptKey(id string, attempt int) string {
	return segmentsKey(id) + fmt.Sprintf("%08d.", attempt)
}

// segmentKey is the key of the segment whose first event has the number first. Numbers are padded, so that segments
// sort by key as their events do.
func segmentKey(id string, attempt, first int) string {
	return attemptKey(id, attempt) + fmt.Sprintf("%010d", first)
}

// parseSegment reads the first event's ID from a segment's key.
func parseSegment(id, key string) (event.ID, bool) {
	rest, ok := strings.CutPrefix(key, segmentsKey(id))
	attempt, first, cut := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(attempt)
	n, errN := strconv.Atoi(first)
	parsed := event.ID{Attempt: a, N: n}
	return parsed, ok && cut && errA == nil && errN == nil && segmentKey(id, a, n) == key
}

// abortsKey is what the keys of all aborts asked for begin with.
func abortsKey(id string) string { return sessionKey(id, abortName) }

func abortKey(id string, attempt int) string { return abortsKey(id) + fmt.Sprintf("%08d", attempt) }

func snapshotsKey(id string) string { return sessionKey(id, snapshotFolder) }

// snapshotDir is where one save of an attempt puts its objects; nonce tells its saves apart.
func snapshotDir(attempt int, nonce string) string {
	return snapshotFolder + fmt.Sprintf("%08d", attempt) + "." + nonce + "/"
}

// objectAttempt reads from a key which attempt's object it names, be it a segment, an abort or an object of a snapshot.
func objectAttempt(id, key string) (attempt int, ok bool) {
	for _, prefix := range []string{segmentsKey(id), abortsKey(id), snapshotsKey(id)} {
		if attempt, ok = attemptOf(key, prefix); ok {
			break
		}
	}
	return attempt, ok
}

// attemptOf reads the attempt from such a key, given what stands before the number.
func attemptOf(key, prefix string) (int, bool) {
	rest, ok := strings.CutPrefix(key, prefix)
	digits, _, _ := strings.Cut(rest, ".")
	attempt, err := strconv.Atoi(digits)
	return attempt, ok && err == nil
}
