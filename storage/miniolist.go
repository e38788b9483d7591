package storage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
)

// List implements Store.
func (m *MinIO) List(ctx context.Context, prefix, after string, limit int) ([]Info, error) {
	var found []Info
	err := m.list(ctx, minio.ListObjectsOptions{Prefix: prefix, StartAfter: after, Recursive: true}, limit,
		func(object minio.ObjectInfo) bool {
			found = append(found, Info{Key: object.Key, Size: object.Size, Version: object.ETag})
			return len(found) < limit
		})
	return found, err
}

// Folders implements Store.
func (m *MinIO) Folders(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	start := after
	if rest, ok := strings.CutSuffix(after, "/"); ok {
		// Servers differ in whether a folder comes after itself; all agree on what comes after its last possible key.
		start = rest + "0"
	}
	var found []string
	err := m.list(ctx, minio.ListObjectsOptions{Prefix: prefix, StartAfter: start}, limit,
		func(object minio.ObjectInfo) bool {
			if strings.HasSuffix(object.Key, "/") && object.Key > after {
				found = append(found, object.Key)
			}
			return len(found) < limit
		})
	return found, err
}

// maxPage is the most that a server lists in one answer.
const maxPage = 1000

func (m *MinIO) list(ctx context.Context, opts minio.ListObjectsOptions, limit int, each func(minio.ObjectInfo) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, errNoAnswer)
	defer cancel()
	opts.MaxKeys = min(limit, maxPage)
	var err error
	for object := range m.client.ListObjectsIter(ctx, m.bucket, opts) {
		if err = object.Err; err != nil || !each(object) {
			break
		}
	}
	switch {
	case minio.ToErrorResponse(err).Code == minio.NoSuchBucket:
		return nil
	case err == nil && ctx.Err() != nil:
		// The iterator just stops then.
		return fmt.Errorf("list %s: %w", opts.Prefix, context.Cause(ctx))
	}
	return minioError(ctx, "list "+opts.Prefix, err)
}

// Delete implements Store.
func (m *MinIO) Delete(ctx context.Context, keys ...string) error {
	for chunk := range slices.Chunk(keys, maxPage) {
		if err := m.delete(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (m *MinIO) delete(ctx context.Context, keys []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, errNoAnswer)
	defer cancel()
	objects := make(chan minio.ObjectInfo, len(keys))
	for _, key := range keys {
		if err := CheckKey(key); err != nil {
			return err
		}
		objects <- minio.ObjectInfo{Key: key}
	}
	close(objects)
	var failed error
	for result := range m.client.RemoveObjects(ctx, m.bucket, objects, minio.RemoveObjectsOptions{}) {
		code := minio.ToErrorResponse(result.Err).Code
		if code != minio.NoSuchKey && code != minio.NoSuchBucket {
			failed = minioError(ctx, "delete "+result.ObjectName, result.Err)
		}
	}
	if failed == nil && ctx.Err() != nil {
		failed = fmt.Errorf("delete %d objects: %w", len(keys), context.Cause(ctx))
	}
	return failed
}
