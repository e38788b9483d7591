package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// File is an entry of a session's saved workspace.
type File struct {
	Path       string    `json:"path"` // below the workspace
	Type       string    `json:"type"` // file, directory, symlink or link
	Mode       string    `json:"mode"` // permission bits, octal
	Size       int64     `json:"size"` // bytes
	ModifiedAt time.Time `json:"modifiedAt"`
	Target     string    `json:"target"` // of a symlink or link

	Raw json.RawMessage `json:"-"` // everything, as it was sent
}

// UnmarshalJSON keeps the raw form, too.
func (f *File) UnmarshalJSON(data []byte) error {
	type fields File
	if err := json.Unmarshal(data, (*fields)(f)); err != nil {
		return err
	}
	f.Raw = bytes.Clone(data)
	return nil
}

// filesTimeout bounds the reading of a list of files: the worker goes through the whole archive for it.
const filesTimeout = 10 * time.Minute

// errCut is a list without its end.
var errCut = errors.New("the list was cut")

// Files calls take for each file of a session's saved workspace, as they come. It is asked once: an error after the first
// file means that there are more. An unknown session is an *APIError; an error of take ends it and is returned.
func (c *Client) Files(ctx context.Context, id string, take func(File) error) error {
	if err := checkID(id); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, filesTimeout, errSilent)
	defer cancel()
	res, err := c.send(ctx, http.MethodGet, c.url(nil, "sessions", id, "files"), nil, http.StatusOK)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if err := readFiles(res.Body, take); err != nil {
		if cause := ended(ctx); cause != nil {
			return cause
		}
		return fmt.Errorf("read the files of session %s: %w", id, err)
	}
	return nil
}

// readFiles reads {…, "files": […], "fileCount": n} piece by piece: it may be larger than this machine's memory.
func readFiles(r io.Reader, take func(File) error) error {
	dec := json.NewDecoder(r)
	if err := expect(dec, json.Delim('{')); err != nil {
		return err
	}
	taken, count := 0, -1
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return cut(err)
		}
		switch key {
		case "files":
			taken, err = readList(dec, take)
		case "fileCount":
			err = cut(dec.Decode(&count))
		default:
			err = cut(dec.Decode(new(json.RawMessage)))
		}
		if err != nil {
			return err
		}
	}
	if err := expect(dec, json.Delim('}')); err != nil {
		return err
	}
	if taken != count {
		return fmt.Errorf("%w: %d files came of %d", errCut, taken, count)
	}
	return nil
}

func readList(dec *json.Decoder, take func(File) error) (taken int, err error) {
	if err := expect(dec, json.Delim('[')); err != nil {
		return 0, err
	}
	for ; dec.More(); taken++ {
		var f File
		if err := dec.Decode(&f); err != nil {
			return taken, cut(err)
		}
		if err := take(f); err != nil {
			return taken, err
		}
	}
	return taken, expect(dec, json.Delim(']'))
}

func expect(dec *json.Decoder, want json.Delim) error {
	got, err := dec.Token()
	if err != nil {
		return cut(err)
	}
	if got != want {
		return fmt.Errorf("the answer is not a worker's: %v where %v should be", got, want)
	}
	return nil
}

// cut names the end of the connection for what it is.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCut
	}
	return err
}
