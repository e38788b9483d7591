package modeltest

import (
	"encoding/json"
	"net/http"
	"strings"
)

// Request is one request as the endpoint received it.
type Request struct {
	Method, Path string
	Header       http.Header
	Body         []byte

	// Of a request for a message:
	Model    string
	Stream   bool
	System   string // its parts joined by newlines
	Messages []Message
	Tools    []string // their names
}

// Message is one turn of the conversation that a request brings along.
type Message struct {
	Role   string
	Blocks []Block
}

// Block is one part of a Message.
type Block struct {
	Type      string // text, image, tool_use, tool_result, …
	Text      string // of text, and of a tool's result
	MediaType string // of an image
	Data      []byte // of an image, decoded
	Name      string // of a tool that is used
	Input     json.RawMessage
	IsError   bool // of a tool's result
}

// Text is every text of the conversation, tools' results included, joined by newlines, for tests that look for a word.
func (r Request) Text() string {
	var texts []string
	for _, m := range r.Messages {
		for _, b := range m.Blocks {
			if b.Text != "" {
				texts = append(texts, b.Text)
			}
		}
	}
	return strings.Join(texts, "\n")
}

// Results are the texts of the tools' results, in order.
func (r Request) Results() []string {
	var results []string
	for _, m := range r.Messages {
		for _, b := range m.Blocks {
			if b.Type == "tool_result" {
				results = append(results, b.Text)
			}
		}
	}
	return results
}

// Images are the pictures of the conversation, in order.
func (r Request) Images() []Block {
	var images []Block
	for _, m := range r.Messages {
		for _, b := range m.Blocks {
			if b.Type == "image" {
				images = append(images, b)
			}
		}
	}
	return images
}

// messageBody is what a client posts to /v1/messages.
type messageBody struct {
	Model    string          `json:"model"`
	Stream   bool            `json:"stream"`
	System   json.RawMessage `json:"system"`
	Messages []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
	Tools []struct {
		Name string `json:"name"`
	} `json:"tools"`
}

type contentBlock struct {
	Type   string `json:"type"`
	Text   string `json:"text"`
	Source struct {
		MediaType string `json:"media_type"`
		Data      []byte `json:"data"`
	} `json:"source"`
	Name    string          `json:"name"`
	Input   json.RawMessage `json:"input"`
	Content json.RawMessage `json:"content"`
	IsError bool            `json:"is_error"`
}

// decode fills in what the body says about the conversation.
func (r *Request) decode() error {
	var body messageBody
	if err := json.Unmarshal(r.Body, &body); err != nil {
		return err
	}
	r.Model, r.Stream = body.Model, body.Stream
	r.System = joinText(blocks(body.System))
	for _, m := range body.Messages {
		r.Messages = append(r.Messages, Message{Role: m.Role, Blocks: blocks(m.Content)})
	}
	for _, t := range body.Tools {
		r.Tools = append(r.Tools, t.Name)
	}
	return nil
}

// blocks reads content in either of its forms, a string or a list.
func blocks(content json.RawMessage) []Block {
	var text string
	if json.Unmarshal(content, &text) == nil && text != "" {
		return []Block{{Type: "text", Text: text}}
	}
	var raw []contentBlock
	if json.Unmarshal(content, &raw) != nil {
		return nil
	}
	out := make([]Block, 0, len(raw))
	for _, c := range raw {
		b := Block{Type: c.Type, Text: c.Text, MediaType: c.Source.MediaType, Data: c.Source.Data, Name: c.Name, Input: c.Input, IsError: c.IsError}
		if c.Type == "tool_result" {
			b.Text = joinText(blocks(c.Content))
		}
		out = append(out, b)
	}
	return out
}

func joinText(blocks []Block) string {
	var texts []string
	for _, b := range blocks {
		if b.Text != "" {
			texts = append(texts, b.Text)
		}
	}
	return strings.Join(texts, "\n")
}
