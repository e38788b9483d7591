package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ai-coding-worker/ai-coding-worker/internal/snapshot"
)

// Snapshots tells what a snapshot holds, as snapshot.Archiver does.
type Snapshots interface {
	List(ctx context.Context, ref snapshot.Ref, from snapshot.Getter, emit func(snapshot.Entry) error) error
}

// file is an entry of a session's saved workspace, as clients see it.
type file struct {
	Path       string `json:"path"`
	Type       string `json:"type"`
	Mode       string `json:"mode"` // permission bits, octal
	Size       int64  `json:"size"`
	ModifiedAt string `json:"modifiedAt"`
	Target     string `json:"target,omitempty"`
}

// listFiles answers with what a session's saved workspace holds, read out of its snapshot.
func (s *Server) listFiles(c *gin.Context) {
	id := c.Param("id")
	if err := checkSessionID(id); err != nil {
		s.fail(c, invalid("sessionId", "%v", err))
		return
	}
	ctx := c.Request.Context()
	ref, objects, err := s.cfg.Sessions.Snapshot(ctx, id)
	if err != nil {
		s.fail(c, err)
		return
	}
	s.list(c, listing{id: id, items: "files", count: "fileCount"}, func(emit func([]byte) error) error {
		if ref == nil {
			return nil
		}
		return s.cfg.Snapshots.List(ctx, *ref, objects, func(e snapshot.Entry) error {
			line, err := json.Marshal(describe(e))
			if err != nil {
				return fmt.Errorf("encode %q: %w", e.Path, err)
			}
			return emit(line)
		})
	})
}

func describe(e snapshot.Entry) file {
	f := file{
		Path: e.Path, Type: "file", Mode: fmt.Sprintf("%04o", e.Mode.Perm()), Size: e.Size,
		ModifiedAt: e.Modified.UTC().Format(time.RFC3339Nano), Target: e.Target,
	}
	switch {
	case e.Mode.IsDir():
		f.Type = "directory"
	case e.Mode&fs.ModeSymlink != 0:
		f.Type = "symlink"
	case e.Target != "":
		f.Type = "link"
	}
	return f
}
