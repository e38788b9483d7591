package httpapi

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/r3labs/sse/v2"
	"golang.org/x/sync/semaphore"

	"github.com/ai-coding-worker/ai-coding-worker/internal/event"
)

// What may be on its way between a source and the socket: so many frames, or one of at least so many bytes. A reader that
// does not read costs that much memory and no more.
const (
	framesInFlight = 64
	bytesInFlight  = 1 << 20
)

// onlyStream is the name of the one stream that each r3labs server here has.
const onlyStream = "events"

// stream answers with the events of src until it ends, the client goes, or the client is too slow to take a frame in time.
//
// The library is used in the one arrangement in which it loses nothing: a server and a stream for each connection, no
// buffer and no replay of its own, published to only after it has its subscriber, and ended by the context of its
// handler. A stream that is removed to end it drops what it has (r3labs/sse#192 is of the same family).
func (s *Server) stream(c *gin.Context, src source) {
	ctx, cancel := context.WithCancelCause(c.Request.Context())
	defer cancel(nil)

	subscribed := make(chan struct{})
	server := sse.New()
	server.AutoReplay, server.BufferSize, server.SplitData = false, 0, true
	server.Headers["X-Accel-Buffering"] = "no"
	server.OnSubscribe = func(string, *sse.Subscriber) { close(subscribed) }
	server.CreateStream(onlyStream)
	defer server.Close()

	p := newPublisher(server)
	w := newFrameWriter(c, s.cfg.Timing.Write, p, cancel)
	request := c.Request.Clone(ctx)
	request.URL.RawQuery = "stream=" + onlyStream
	request.Header.Del("Last-Event-ID") // src has seen to it; the library wants a number

	var feeding sync.WaitGroup
	feeding.Go(func() {
		defer s.endFeed(c, cancel)
		select {
		case <-subscribed:
			s.feed(ctx, c, src, p)
		case <-ctx.Done():
		}
	})
	server.ServeHTTP(w, request)
	cancel(nil)
	feeding.Wait()
}

// endFeed ends a stream. A panic in reading storage for one reader must not take the worker's job with it.
func (s *Server) endFeed(c *gin.Context, cancel context.CancelCauseFunc) {
	if p := recover(); p != nil {
		s.logger(c).Error().Str("panic", fmt.Sprint(p)).Bytes("stack", debug.Stack()).Msg("stream panicked")
	}
	cancel(nil)
}

// feed publishes src, with comments beside it while it is silent, so that no proxy takes the stream for dead.
func (s *Server) feed(ctx context.Context, c *gin.Context, src source, p *publisher) {
	beating, stop := context.WithCancel(ctx)
	var heart sync.WaitGroup
	defer heart.Wait()
	defer stop()
	heart.Go(func() { p.beat(beating, s.cfg.Timing.Heartbeat) })
	err := src(ctx, func(id event.ID, line []byte) error { return p.event(ctx, id, line) })
	if err != nil && ctx.Err() == nil {
		s.logger(c).Warn().Err(err).Msg("stream cut")
	}
}

// publisher gives a stream its frames, no more than there is room for.
type publisher struct {
	server *sse.Server
	room   *semaphore.Weighted
	onWay  chan int64 // the room that each frame takes, in their order
}

func newPublisher(server *sse.Server) *publisher {
	return &publisher{server: server, room: semaphore.NewWeighted(framesInFlight), onWay: make(chan int64, framesInFlight)}
}

// event publishes one event.
func (p *publisher) event(ctx context.Context, id event.ID, line []byte) error {
	frame := &sse.Event{Data: line}
	if id != (event.ID{}) {
		frame.ID = []byte(id.String())
	}
	return p.publish(ctx, frame)
}

func (p *publisher) beat(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = p.publish(ctx, &sse.Event{Comment: []byte("hb")})
		case <-ctx.Done():
			return
		}
	}
}

func (p *publisher) publish(ctx context.Context, frame *sse.Event) error {
	if len(frame.Data)+len(frame.Comment) == 0 {
		return errors.New("an empty line in the event log")
	}
	size := min(framesInFlight, 1+int64(len(frame.Data))*framesInFlight/bytesInFlight)
	if p.room.Acquire(ctx, size) != nil {
		return context.Cause(ctx)
	}
	p.onWay <- size
	p.server.Publish(onlyStream, frame)
	return nil
}

// more reports whether another frame is on its way behind the one that is being sent.
func (p *publisher) more() bool { return len(p.onWay) > 1 }

// sent makes room for the next frame.
func (p *publisher) sent() { p.room.Release(<-p.onWay) }
