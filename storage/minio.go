package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

const (
	// partSize bounds an upload of unknown size, and with it objects to 78 GiB (10,000 parts); its memory is that of so many
	// parts as are sent at once, so that reading goes on while one is sent.
	partSize    = 8 << 20
	partsAtOnce = 2
	// singlePut is up to where Put sends an object in one request.
	singlePut = 1 << 20
	// requestTries includes the first one; with more, a server that is down takes seconds to say so.
	requestTries = 3
	// requestTimeout bounds a request without a stream, tries included.
	requestTimeout = 30 * time.Second
	// stallTimeout ends a stream that moves no byte, or an upload that takes no next part.
	stallTimeout = 2 * time.Minute
)

// MinIOConfig says where a bucket is; every field but UseSSL is needed.
type MinIOConfig struct {
	Endpoint  string // host or host:port
	AccessKey secret.String
	SecretKey secret.String
	UseSSL    bool
	Bucket    string
	Region    string
}

// MinIO is a Store in a bucket of MinIO, or of another S3 server that has conditional PUT.
type MinIO struct {
	client *minio.Client
	core   minio.Core
	bucket string
	exists atomic.Bool // the bucket has been seen
}

// NewMinIO makes a store without asking the server for anything. The bucket is made when something is first written.
func NewMinIO(cfg MinIOConfig) (*MinIO, error) {
	client, err := minio.New(cfg.Endpoint, &minio.Options{
		Creds:  credentials.NewStaticV4(cfg.AccessKey.Reveal(), cfg.SecretKey.Reveal(), ""),
		Secure: cfg.UseSSL,
		// Without a region each first request looks it up, and a server that is starting fails that without a retry.
		Region:          cfg.Region,
		Transport:       minioTransport(),
		TrailingHeaders: true,
		MaxRetries:      requestTries,
	})
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", cfg.Bucket, err)
	}
	return &MinIO{client: client, core: minio.Core{Client: client}, bucket: cfg.Bucket}, nil
}

func minioTransport() *http.Transport {
	dialer := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext:           dialer.DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: requestTimeout,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true, // an object with a Content-Encoding is read as it was put
	}
}

// Get implements Store.
func (m *MinIO) Get(ctx context.Context, key string) (io.ReadCloser, Info, error) {
	if err := CheckKey(key); err != nil {
		return nil, Info{}, err
	}
	ctx, stall := newStall(ctx)
	// The plain GetObject hides the header Date, which is the store's clock.
	body, object, header, err := m.core.GetObject(ctx, m.bucket, key, minio.GetObjectOptions{})
	if err != nil {
		defer stall.stop()
		return nil, Info{}, minioError(ctx, "get "+key, err)
	}
	stall.pause()
	info := Info{Key: key, Size: object.Size, Version: object.ETag}
	if now, err := http.ParseTime(header.Get("Date")); err == nil {
		info.Age = max(0, now.Sub(object.LastModified))
	}
	return &minioReader{ctx: ctx, body: body, stall: stall, key: key}, info, nil
}

// Put implements Store.
func (m *MinIO) Put(ctx context.Context, key string, r io.Reader) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	src, stop := newSource(ctx, r)
	defer stop()
	head, err := io.ReadAll(io.LimitReader(src, singlePut))
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("put %s: %w", key, context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("put %s: read its content: %w", key, err)
	case len(head) < singlePut:
		_, err := m.put(ctx, key, head, minio.PutObjectOptions{})
		return err
	}
	return m.stream(ctx, key, src, head)
}

// stream sends what does not fit into one request, in parts.
func (m *MinIO) stream(ctx context.Context, key string, src *source, head []byte) error {
	if err := m.ensureBucket(ctx); err != nil {
		return err
	}
	ctx, stall := newStall(ctx)
	defer stall.stop()
	body := io.MultiReader(bytes.NewReader(head), &stallingReader{r: src, stall: stall})
	opts := minio.PutObjectOptions{PartSize: partSize, NumThreads: partsAtOnce, ConcurrentStreamParts: true}
	_, err := m.client.PutObject(ctx, m.bucket, key, body, -1, opts)
	if src.err != nil && ctx.Err() == nil {
		return fmt.Errorf("put %s: read its content: %w", key, src.err)
	}
	return minioError(ctx, "put "+key, err)
}

// PutIf implements Store. A condition is kept by the server only for an object that is put in one request.
func (m *MinIO) PutIf(ctx context.Context, key string, data []byte, cond Condition) (string, error) {
	if err := CheckKey(key); err != nil {
		return "", err
	}
	var opts minio.PutObjectOptions
	if cond == IfAbsent {
		opts.SetMatchETagExcept("*")
	} else {
		opts.SetMatchETag(string(cond))
	}
	return m.put(ctx, key, data, opts)
}

// put sends an object in one request, and makes the bucket if it is missing.
func (m *MinIO) put(ctx context.Context, key string, data []byte, opts minio.PutObjectOptions) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, errNoAnswer)
	defer cancel()
	opts.DisableMultipart = true
	send := func() (minio.UploadInfo, error) {
		return m.client.PutObject(ctx, m.bucket, key, bytes.NewReader(data), int64(len(data)), opts)
	}
	info, err := send()
	if minio.ToErrorResponse(err).Code == minio.NoSuchBucket {
		if err := m.makeBucket(ctx); err != nil {
			return "", err
		}
		info, err = send()
	}
	if err != nil {
		return "", minioError(ctx, "put "+key, err)
	}
	return info.ETag, nil
}

// ensureBucket is for what cannot be sent twice.
func (m *MinIO) ensureBucket(ctx context.Context) error {
	if m.exists.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, errNoAnswer)
	defer cancel()
	exists, err := m.client.BucketExists(ctx, m.bucket)
	if err != nil {
		return minioError(ctx, "look for bucket "+m.bucket, err)
	}
	if !exists {
		return m.makeBucket(ctx)
	}
	m.exists.Store(true)
	return nil
}

// makeBucket is content when another worker was faster.
func (m *MinIO) makeBucket(ctx context.Context) error {
	err := m.client.MakeBucket(ctx, m.bucket, minio.MakeBucketOptions{})
	code := minio.ToErrorResponse(err).Code
	if err != nil && code != minio.BucketAlreadyOwnedByYou && code != minio.BucketAlreadyExists {
		return minioError(ctx, "make bucket "+m.bucket, err)
	}
	m.exists.Store(true)
	return nil
}

// Stat implements Store.
func (m *MinIO) Stat(ctx context.Context, key string) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, errNoAnswer)
	defer cancel()
	object, err := m.client.StatObject(ctx, m.bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return Info{}, minioError(ctx, "stat "+key, err)
	}
	return Info{Key: key, Size: object.Size, Version: object.ETag}, nil
}

// passing are the codes of failures that may pass, beside those that the status tells: the end of an upload and the deletion
// of an object fail in the body of an answer that has begun, or is, well. NoSuchUpload is what an upload's end gets that is
// sent again after its answer was lost.
var passing = []string{
	"ConditionalRequestConflict", "InternalError", minio.NoSuchUpload, "OperationAborted", "ServiceUnavailable",
	"SlowDown", "SlowDownRead", "SlowDownWrite",
}

var errNoAnswer = fmt.Errorf("no answer in time: %w", ErrUnavailable)

// minioError gives a failed request its meaning. Whatever is no definite answer of the server is ErrUnavailable.
func minioError(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	answer := minio.ErrorResponse{}
	if !errors.As(err, &answer) {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
		}
		return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, err)
	}
	switch status := answer.StatusCode; {
	case answer.Code == minio.NoSuchKey, answer.Code == minio.NoSuchBucket:
		return fmt.Errorf("%s: %w", doing, ErrNotFound)
	case answer.Code == minio.PreconditionFailed, status == http.StatusPreconditionFailed:
		return fmt.Errorf("%s: %w", doing, ErrConflict)
	case status >= http.StatusInternalServerError, status == http.StatusTooManyRequests,
		status == http.StatusRequestTimeout, slices.Contains(passing, answer.Code):
		return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, err)
	}
	return fmt.Errorf("%s: the server refused it: %w", doing, err)
}
