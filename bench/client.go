package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// request is a job of the script provider; session and repository may be empty.
func request(script, session, repoURL string) map[string]any {
	r := map[string]any{"userRequest": script, "codingAssistantProvider": "script"}
	if session != "" {
		r["websiteSessionId"] = session
	}
	if repoURL != "" {
		r["github"] = map[string]any{"repoUrl": repoURL}
	}
	return r
}

// post sends a job and returns the stream of its events.
func (p *process) post(ctx context.Context, request map[string]any) (io.ReadCloser, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/execute", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return open(req)
}

// follow opens the stream of a session.
func (p *process) follow(ctx context.Context, session string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/sessions/"+session+"/stream", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	return open(req)
}

func open(req *http.Request) (io.ReadCloser, error) {
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		answer, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
		return nil, fmt.Errorf("%s %s: %s %s", req.Method, req.URL.Path, res.Status, answer)
	}
	return res.Body, nil
}

// read calls see with each event's line until it wants no more. A stream that ends before is an error.
func read(body io.Reader, see func(data []byte) (done bool, err error)) error {
	lines := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			continue // no row has lines that long
		}
		if err != nil {
			return fmt.Errorf("the stream was cut: %w", err)
		}
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok {
			continue
		}
		if done, err := see(data); done || err != nil {
			return err
		}
	}
}

// timing is what one job took, seen from its client and counted from the request; what did not happen is 0.
type timing struct {
	connected time.Duration
	restored  time.Duration // the assistant starts
	pulled    time.Duration // the repository is there
	worked    time.Duration // the script has ended
	total     time.Duration
	assisted  time.Duration // of it the script's own time
	busyRSS   int64
}

// job runs one job to its end and waits for the worker's exit.
func (p *process) job(ctx context.Context, request map[string]any) (timing, error) {
	begun := time.Now()
	body, err := p.post(ctx, request)
	if err != nil {
		return timing{}, err
	}
	defer body.Close()
	t, err := p.time(body, begun)
	if err != nil {
		return t, err
	}
	return t, p.exit()
}

func (p *process) time(body io.Reader, begun time.Time) (timing, error) {
	var t timing
	err := read(body, func(data []byte) (bool, error) {
		now := time.Since(begun)
		switch text := string(data); {
		case strings.HasPrefix(text, `{"type":"connected"`):
			t.connected = now
		case strings.HasPrefix(text, `{"type":"github_pull_progress"`) && strings.Contains(text, `"completed"`):
			t.pulled = now
		case strings.Contains(text, `"stage":"assist"`):
			t.restored = now
		case strings.HasPrefix(text, `{"type":"assistant_message"`):
			t.busyRSS = max(t.busyRSS, p.memory("VmRSS"))
			if ms, ok := scriptTime(data); ok {
				t.worked, t.assisted = now, ms
			}
		case strings.HasPrefix(text, `{"type":"completed"`):
			t.total = now
			return true, nil
		case strings.HasPrefix(text, `{"type":"error"`):
			return true, fmt.Errorf("the job failed: %s", text)
		}
		return false, nil
	})
	return t, err
}

// scriptTime is how long a script ran, from its last message.
func scriptTime(data []byte) (time.Duration, bool) {
	var message struct {
		Data struct {
			Type string `json:"type"`
			MS   int64  `json:"duration_ms"`
		} `json:"data"`
	}
	if json.Unmarshal(data, &message) != nil || message.Data.Type != "result" {
		return 0, false
	}
	return time.Duration(message.Data.MS) * time.Millisecond, true
}
