package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
)

// forms returns every spelling of s under which a program is likely to print it.
func forms(s string) []string {
	out := []string{s, hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s)))}
	out = append(out, escaped(s)...)
	for _, once := range escaped(s) {
		out = append(out, escaped(once)...) // JSON that holds JSON, as a tool's result in a transcript
	}
	out = append(out, url.PathEscape(s), url.QueryEscape(s))
	for lead := range 3 {
		out = append(out, core(base64.RawStdEncoding, s, lead), core(base64.RawURLEncoding, s, lead))
	}
	return out
}

// escaped returns s as it stands between the quotes of a JSON string, with and without the escapes for HTML,
// and with the escaped slash that some writers prefer.
func escaped(s string) []string {
	plain := quote(s, false)
	return []string{plain, quote(s, true), strings.ReplaceAll(plain, "/", `\/`)}
}

func quote(s string, html bool) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(html)
	if err := enc.Encode(s); err != nil {
		return s
	}
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(b.String()), `"`), `"`)
}

// core returns the characters that s alone decides in the base64 of a text in which lead bytes (mod 3) stand
// before it. Padding and the characters shared with the neighbours are left out, so it is found with any of them.
func core(enc *base64.Encoding, s string, lead int) string {
	all := enc.EncodeToString(append(make([]byte, lead), s...))
	first, end := (lead*8+5)/6, (lead+len(s))*8/6
	return all[first:end]
}
