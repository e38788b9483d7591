package httpapi

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
)

// object reads the fields of a JSON object. null and "" are the same as a field that is not there. The first field that is
// wrong is kept for the whole request, as a bufio.Writer keeps its first error, so that reading goes on without checks.
type object struct {
	path    string
	fields  map[string]any
	refused *error // shared by all objects of a request
}

func newObject(fields map[string]any) object {
	return object{fields: fields, refused: new(error)}
}

// err is the first refusal.
func (o object) err() error { return *o.refused }

// refuse notes that a field is wrong, unless another one was before it.
func (o object) refuse(key, format string, args ...any) {
	o.keep(invalid(join(o.path, key), format, args...))
}

func (o object) keep(err error) {
	if *o.refused == nil {
		*o.refused = err
	}
}

// get is the field's value, or nil where it is absent.
func (o object) get(key string) any {
	v := o.fields[key]
	if v == "" {
		return nil
	}
	return v
}

// has reports whether the field is there.
func (o object) has(key string) bool { return o.get(key) != nil }

func (o object) text(key string) string {
	v := o.get(key)
	s, ok := v.(string)
	if v != nil && !ok {
		o.refuse(key, "must be a string, not %s", kindOf(v))
	}
	return s
}

// boolean is nil where the field is absent.
func (o object) boolean(key string) *bool {
	v := o.get(key)
	b, ok := v.(bool)
	if ok {
		return &b
	}
	if v != nil {
		o.refuse(key, "must be true or false, not %s", kindOf(v))
	}
	return nil
}

// count is a whole number that is not negative; 0 where the field is absent.
func (o object) count(key string) int {
	v := o.get(key)
	if v == nil {
		return 0
	}
	number, ok := v.(json.Number)
	if !ok {
		o.refuse(key, "must be a number, not %s", kindOf(v))
		return 0
	}
	n, err := strconv.ParseInt(number.String(), 10, 32)
	if err != nil || n < 0 {
		o.refuse(key, "must be a whole number from 0 to %d", math.MaxInt32)
	}
	return int(n)
}

// object is a nested object; ok is false where it is absent.
func (o object) object(key string) (nested object, ok bool) {
	v := o.get(key)
	fields, ok := v.(map[string]any)
	if v != nil && !ok {
		o.refuse(key, "must be an object, not %s", kindOf(v))
	}
	return object{path: join(o.path, key), fields: fields, refused: o.refused}, ok
}

// item is an object in an array.
func (o object) item(key string, i int, v any) object {
	fields, ok := v.(map[string]any)
	if !ok {
		o.refuse(at(key, i), "must be an object, not %s", kindOf(v))
	}
	return object{path: join(o.path, at(key, i)), fields: fields, refused: o.refused}
}

// unknown lists the fields that are there and not known, sorted, with their paths.
func (o object) unknown(known ...string) []string {
	var names []string
	for key := range o.fields {
		if o.has(key) && !slices.Contains(known, key) {
			names = append(names, clip(join(o.path, key)))
		}
	}
	slices.Sort(names)
	return names
}

// only refuses a field that is not known.
func (o object) only(known ...string) {
	if names := o.unknown(known...); len(names) > 0 {
		o.keep(invalid(names[0], "unknown field; %s can have %s", o.path, strings.Join(known, ", ")))
	}
}
