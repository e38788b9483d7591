package gitops

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ai-coding-worker/ai-coding-worker/gitops/internal/vault"
)

// maxShallow is how many bytes of a checkout's list of shallow commits are read.
const maxShallow = 1 << 20

// handOver is a commit on its way from the checkout to the vault.
type handOver struct {
	commit   string
	have     []string  // commits that the vault has
	limit    int64     // bytes
	progress io.Writer // may be nil
}

// toVault brings what a commit of the checkout reaches, and the vault lacks, into the vault. git writes the pack as the
// agent, and the vault's git believes nothing in it: what is broken, forbidden or incomplete is ErrBadObjects.
func (r *Repo) toVault(ctx context.Context, h handOver) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reader, writer := io.Pipe()
	cmd := r.co.git(vault.PackObjects()...)
	cmd.Stdin = strings.NewReader(vault.Revisions(h.commit, h.have))
	cmd.Stdout = writer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = writer.CloseWithError(cmd.Run(ctx)) // nil is the pack's end
	}()
	pack := &source{Reader: reader}
	_, err := r.vault.Index(ctx, pack, true, h.limit, h.progress)
	_ = reader.Close()
	cancel(err)
	<-done
	if failure := pack.err(); failure != nil { // the agent's git failed, and the pack was cut
		return r.co.explain(ctx, failure)
	}
	return err
}

// source remembers how reading failed. A copier that git did not wait for may still be reading.
type source struct {
	io.Reader
	failed atomic.Pointer[error]
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && err != io.EOF {
		s.failed.Store(&err)
	}
	return n, err
}

func (s *source) err() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// gitFile is a file on its way into the checkout's repository.
type gitFile struct {
	name string // below .git
	mode int64
	size int64
	data io.Reader
}

func text(name, content string) gitFile {
	return gitFile{name: name, mode: 0o644, size: int64(len(content)), data: strings.NewReader(content)}
}

// toCheckout brings packs of the vault into the checkout, behind other files.
func (r *Repo) toCheckout(ctx context.Context, packs []string, files ...gitFile) error {
	for _, pack := range packs {
		for _, ext := range vault.PackFiles {
			file, err := r.vault.OpenPack(pack, ext)
			if err != nil {
				return err
			}
			defer func() { _ = file.Close() }() // only read
			info, err := file.Stat()
			if err != nil {
				return err
			}
			files = append(files, gitFile{name: path.Join("objects/pack", pack+ext), mode: 0o444, size: info.Size(), data: file})
		}
	}
	return r.co.write(ctx, files)
}

// write puts files into the checkout's repository. One child writes all of them, as a child costs more than a small file;
// it has the agent's rights, so nothing that the agent may have put in their places leads anywhere else than the agent could.
func (c checkout) write(ctx context.Context, files []gitFile) error {
	reader, writer := io.Pipe()
	packed := make(chan struct{})
	go func() {
		defer close(packed)
		_ = writer.CloseWithError(archive(writer, files)) // nil is the archive's end
	}()
	cmd := c.agent.Command("tar", "-x", "-f", "-", "-C", c.path())
	cmd.Dir, cmd.Env, cmd.Stdin = "/", c.environment(), reader
	err := cmd.Run(ctx)
	_ = reader.Close()
	<-packed
	return err
}

func archive(w io.Writer, files []gitFile) error {
	out := tar.NewWriter(w)
	for _, f := range files {
		err := out.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: f.size, ModTime: time.Now()})
		if err != nil {
			return fmt.Errorf("pass on %s: %w", f.name, err)
		}
		if _, err := io.Copy(out, f.data); err != nil {
			return fmt.Errorf("pass on %s: %w", f.name, err)
		}
	}
	return out.Close()
}

// shallows reads and checks the checkout's list of shallow commits.
func (c checkout) shallows(ctx context.Context) ([]string, error) {
	data, err := c.agent.ReadFile(ctx, c.path("shallow"), maxShallow)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the checkout's shallow commits: %w", err)
	}
	commits := strings.Fields(string(data))
	for _, commit := range commits {
		if !vault.IsHash(commit) {
			return nil, fmt.Errorf("%w: its list of shallow commits has the line %.60q", ErrBadCheckout, commit)
		}
	}
	return commits, nil
}
