package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/internal/client"
)

// runFlags are the flags of aicw run.
type runFlags struct {
	repo, branch, directory, session string
	provider, model, permissionMode  string
	authFile, tokenFile              string
	maxTurns                         int
	images                           []string
	noCommit                         bool
}

// request makes the request that the flags, the environment and the argument describe.
func (a *app) request(ctx context.Context, c *client.Client, f runFlags, argument string) (client.Request, error) {
	req := client.Request{
		SessionID: f.session, MustExist: f.session != "", NoCommit: f.noCommit,
		Options: client.Options{Model: f.model, PermissionMode: f.permissionMode, MaxTurns: f.maxTurns},
	}
	if f.repo == "" && (f.branch != "" || f.directory != "") {
		return req, usageError{errors.New("--branch and --directory need --repo")}
	}
	var err error
	if req.Text, err = a.text(argument); err != nil {
		return req, err
	}
	if req.Images, err = readImages(f.images); err != nil {
		return req, err
	}
	stored, err := recall(ctx, c, &f)
	if err != nil {
		return req, err
	}
	req.Provider = f.provider
	if req.Credential, err = a.credential(f.authFile, f.provider); err != nil {
		return req, err
	}
	req.Repo, err = a.repo(f, stored)
	return req, err
}

// recall fills in what a session that is resumed knows itself, and returns its repository: the same provider goes on, and a token
// is chosen by the repository's host.
func recall(ctx context.Context, c *client.Client, f *runFlags) (repoURL string, err error) {
	if f.session == "" || f.provider != "" && f.repo != "" {
		return "", nil
	}
	session, err := c.Session(ctx, f.session)
	if err != nil {
		return "", err
	}
	if f.provider == "" {
		f.provider = session.Provider
	}
	if session.GitHub == nil {
		return "", nil
	}
	return session.GitHub.RepoURL, nil
}

// repo is the repository of the flags, or the session's stored one if there is a token for it.
func (a *app) repo(f runFlags, stored string) (*client.Repo, error) {
	repo := &client.Repo{URL: f.repo, Branch: f.branch, Directory: f.directory}
	if repo.URL == "" {
		repo.URL = stored
	}
	if repo.URL == "" {
		return nil, nil
	}
	var err error
	repo.Token, err = a.gitToken(f.tokenFile, repo.URL)
	if f.repo == "" && repo.Token.IsZero() {
		return nil, err
	}
	return repo, err
}

// maxText bounds a request that comes from standard input; workers take less.
const maxText = 64 << 20

// text is what the agent shall do: the argument, or standard input for "-".
func (a *app) text(argument string) (string, error) {
	if argument == "-" {
		data, err := io.ReadAll(io.LimitReader(a.stdin, maxText))
		if err != nil {
			return "", fmt.Errorf("read the request: %w", err)
		}
		argument = string(data)
	}
	if strings.TrimSpace(argument) == "" {
		return "", usageError{errors.New("the request is empty: say what the agent shall do")}
	}
	return argument, nil
}

// imageTypes are the pictures that assistants take.
var imageTypes = []string{"image/jpeg", "image/png", "image/gif", "image/webp"}

func readImages(files []string) ([]client.Image, error) {
	var images []client.Image
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, usageError{err}
		}
		kind := http.DetectContentType(data)
		if !slices.Contains(imageTypes, kind) {
			return nil, usageError{fmt.Errorf("%s: neither a JPEG, PNG, GIF nor WebP image", file)}
		}
		images = append(images, client.Image{MediaType: kind, Data: data})
	}
	return images, nil
}
