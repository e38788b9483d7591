package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"
)

// Bounds of what a body is decoded to, which can be many times its size. A request has some dozen values.
const (
	maxDepth  = 64      // of objects and arrays in one another
	maxValues = 100_000 // objects and arrays among them
)

// parse reads a body that must be exactly one JSON object: valid UTF-8, no key twice in an object, nothing after it.
// encoding/json alone would take the last of two equal keys, match keys in any case and mend broken text.
// Values are nil, bool, json.Number, string, []any and map[string]any.
func parse(body []byte) (map[string]any, error) {
	if !utf8.Valid(body) {
		return nil, invalid("", "the body is not valid UTF-8")
	}
	p := &parser{dec: json.NewDecoder(bytes.NewReader(body)), room: maxValues}
	p.dec.UseNumber()
	v, err := p.value("", 0)
	if err != nil {
		return nil, err
	}
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, invalid("", "the body goes on after its JSON object, at byte %d", p.dec.InputOffset())
	}
	root, ok := v.(map[string]any)
	if !ok {
		return nil, invalid("", "the body must be a JSON object, not %s", kindOf(v))
	}
	return root, nil
}

type parser struct {
	dec  *json.Decoder
	room int // for more values
}

// value reads one value; path is its place in the body, for errors, and clipped: it is made anew for each value.
func (p *parser) value(path string, depth int) (any, error) {
	if p.room--; p.room < 0 {
		return nil, invalid("", "the body has more than %d values", maxValues)
	}
	token, err := p.token()
	if err != nil {
		return nil, err
	}
	delim, nested := token.(json.Delim)
	if !nested {
		return token, nil
	}
	if depth == maxDepth {
		return nil, invalid(path, "nested deeper than %d", maxDepth)
	}
	if delim == '{' {
		return p.object(path, depth+1)
	}
	return p.array(path, depth+1)
}

func (p *parser) object(path string, depth int) (any, error) {
	fields := make(map[string]any)
	for p.dec.More() {
		token, err := p.token()
		if err != nil {
			return nil, err
		}
		key, _ := token.(string)
		place := clip(join(path, key))
		if _, twice := fields[key]; twice {
			return nil, invalid(place, "given twice")
		}
		if fields[key], err = p.value(place, depth); err != nil {
			return nil, err
		}
	}
	_, err := p.token()
	return fields, err
}

func (p *parser) array(path string, depth int) (any, error) {
	items := []any{}
	for p.dec.More() {
		item, err := p.value(clip(at(path, len(items))), depth)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	_, err := p.token()
	return items, err
}

// token is the decoder's next one, which must come.
func (p *parser) token() (json.Token, error) {
	token, err := p.dec.Token()
	switch {
	case err == nil:
		return token, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, invalid("", "the body ends in the middle of its JSON")
	default:
		return nil, invalid("", "the body is not valid JSON at byte %d: %v", p.dec.InputOffset(), err)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func at(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// clip keeps a name that a client chose short enough to be told back.
func clip(name string) string {
	const most = 100
	if len(name) <= most {
		return name
	}
	cut := most
	for !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut] + "…"
}

// kindOf names a value's type as people say it.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case json.Number:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "an array"
	default:
		return "an object"
	}
}
