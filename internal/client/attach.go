package client

import "context"

// From is where Attach begins. The zero From is the beginning of the session's latest job.
type From struct {
	After string // the ID of an event; what comes after it is read
	All   bool   // every job of the session, from the first
}

// Attach reads the session's events from the given place to the terminal event of the job found there (with From.All: of the
// latest job), waiting for it if need be, and returns that event. Events come as they do from Execute, and so do errors; an
// unknown session is an *APIError.
func (c *Client) Attach(ctx context.Context, id string, from From, onEvent func(Event) error) (Event, error) {
	if err := checkID(id); err != nil {
		return Event{}, err
	}
	return c.follow(ctx, &reader{session: id, last: from.After, history: from.All, onEvent: onEvent}, nil)
}
