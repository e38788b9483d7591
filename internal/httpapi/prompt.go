package httpapi

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/providers"
)

var imageTypes = []string{"image/jpeg", "image/png", "image/gif", "image/webp"}

// prompt is userRequest: a string, or blocks of text and images.
func (r *request) prompt() providers.Prompt {
	const field = "userRequest"
	switch v := r.get(field).(type) {
	case nil:
		r.refuse(field, "is required")
	case string:
		if strings.TrimSpace(v) == "" {
			r.refuse(field, "must not be blank")
		}
		return providers.Prompt{Blocks: []providers.Block{{Text: v}}}
	case []any:
		return r.blocks(field, v)
	default:
		r.refuse(field, "must be a string or an array of blocks, not %s", kindOf(v))
	}
	return providers.Prompt{}
}

func (r *request) blocks(field string, items []any) providers.Prompt {
	var prompt providers.Prompt
	for i, item := range items {
		block := r.block(r.item(field, i, item))
		if block.MediaType == "" && strings.TrimSpace(block.Text) == "" {
			continue // it says nothing, and some models' APIs refuse it
		}
		prompt.Blocks = append(prompt.Blocks, block)
	}
	if strings.TrimSpace(prompt.Text()) == "" {
		r.refuse(field, "must have a text block that is not blank")
	}
	return prompt
}

func (r *request) block(o object) providers.Block {
	switch kind := o.text("type"); kind {
	case "text":
		r.ignored = append(r.ignored, o.unknown("type", "text")...)
		return providers.Block{Text: o.text("text")}
	case "image":
		r.ignored = append(r.ignored, o.unknown("type", "source")...)
		source, ok := o.object("source")
		if !ok {
			o.refuse("source", "is required in an image block")
			return providers.Block{}
		}
		return r.image(source)
	default:
		o.refuse("type", `must be "text" or "image"`)
		return providers.Block{}
	}
}

func (r *request) image(o object) providers.Block {
	r.ignored = append(r.ignored, o.unknown("type", "media_type", "data")...)
	if o.text("type") != "base64" {
		o.refuse("type", `must be "base64"`)
	}
	mediaType := o.text("media_type")
	if !slices.Contains(imageTypes, mediaType) {
		o.refuse("media_type", "must be one of %s", strings.Join(imageTypes, ", "))
	}
	data, err := base64.StdEncoding.DecodeString(o.text("data"))
	switch {
	case err != nil:
		o.refuse("data", "is not base64: %v", err)
	case len(data) == 0:
		o.refuse("data", "is required")
	}
	return providers.Block{MediaType: mediaType, Data: data}
}
