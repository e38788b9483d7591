package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// List implements Store.
func (d *Dir) List(ctx context.Context, prefix, after string, limit int) ([]Info, error) {
	base := path.Dir(prefix + "x")
	if base != "." && CheckKey(base) != nil {
		return nil, fmt.Errorf("list %q: not a prefix of any key", prefix)
	}
	var found []Info
	err := fs.WalkDir(d.root.FS(), base, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case entry.IsDir() && name == dirInternal:
			return fs.SkipDir
		case !entry.Type().IsRegular() || !strings.HasPrefix(name, prefix) || name <= after:
			return nil
		}
		stat, err := entry.Info()
		if err == nil {
			found = append(found, dirInfo(name, stat))
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, d.error("list", prefix, err)
	}
	slices.SortFunc(found, func(a, b Info) int { return strings.Compare(a.Key, b.Key) })
	return found[:min(limit, len(found))], nil
}

// Folders implements Store.
func (d *Dir) Folders(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, d.error("list", prefix, err)
	}
	var found []string
	for _, entry := range entries {
		folder := entry.Name() + "/"
		if entry.IsDir() && entry.Name() != dirInternal && strings.HasPrefix(folder, prefix) && folder > after {
			found = append(found, folder)
		}
	}
	slices.Sort(found)
	return found[:min(limit, len(found))], nil
}
