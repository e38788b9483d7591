package gitops

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxSubject = 72 // characters
	maxBody    = 64 << 10
	maxName    = 60 // characters
	maxLook    = 4 << 10

	defaultName = "New session"
)

// SessionName is what a session is called: the first thing that its first request says, on one line of at most 60
// characters.
func SessionName(prompt string) string {
	name := upperFirst(cutWords(gist(prompt), maxName))
	if name == "" {
		return defaultName
	}
	return name
}

// CommitMessage makes a conventional commit's message from the request's own words: a type that its first verb suggests
// (wip marks unfinished work), a subject of at most 72 characters, and the request below it unless the subject says all
// of it. It ends with a line end.
func CommitMessage(prompt string, wip bool) string {
	what := gist(prompt)
	kind := kindOf(what)
	if wip {
		kind = "wip"
	}
	if what == "" {
		what = "apply the requested changes"
	}
	subject := cutWords(kind+": "+lowerFirst(what), maxSubject)
	body := strings.TrimSpace(cutBytes(clean(prompt), maxBody))
	if body == "" || strings.EqualFold(strings.TrimRight(body, ".! "), strings.TrimPrefix(subject, kind+": ")) {
		return subject + "\n"
	}
	return subject + "\n\n" + body + "\n"
}

// gist is the first sentence of a request, on one line, without markup and politeness.
func gist(prompt string) string {
	for _, line := range strings.Split(clean(cutBytes(prompt, maxLook)), "\n") {
		line = strings.Trim(strings.Join(strings.Fields(line), " "), " #*>`-_=~|+•\"'")
		if !strings.ContainsFunc(line, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
			continue
		}
		if rest := impolite(sentence(line)); rest != "" {
			return rest
		}
	}
	return ""
}

// sentence ends a line at the first full stop that another sentence follows.
func sentence(line string) string {
	for i, r := range line {
		if !strings.ContainsRune(".!?。！？", r) {
			continue
		}
		rest := line[i+utf8.RuneLen(r):]
		if rest == "" || r > utf8.RuneSelf || rest[0] == ' ' && i > 10 {
			return strings.TrimSpace(line[:i])
		}
	}
	return line
}

var politeness = []string{
	"please", "kindly", "hi", "hello", "hey", "ok", "okay", "let's", "lets", "we need to", "we should", "you should",
	"can you", "could you", "would you", "will you", "i want you to", "i need you to", "i would like you to", "i'd like you to",
}

// impolite takes the words off that say nothing about the work.
func impolite(line string) string {
	for again := true; again; {
		again = false
		line = strings.TrimLeft(line, " ,.:;!-")
		for _, p := range politeness {
			if len(line) > len(p) && strings.EqualFold(line[:len(p)], p) && strings.ContainsRune(" ,.:;!-", rune(line[len(p)])) {
				line, again = line[len(p):], true
				break
			}
		}
	}
	return strings.TrimSpace(line)
}

// kinds are the types of conventional commits, with the words that stand for them.
var kinds = typed(map[string]string{
	"fix":      "fix fixes repair resolve correct debug patch bug handle prevent",
	"feat":     "add create implement build introduce support make write enable allow extend generate develop",
	"refactor": "refactor rename restructure simplify extract move clean split reorganize replace rewrite deduplicate",
	"docs":     "document explain describe comment",
	"test":     "test cover",
	"perf":     "optimize optimise speed cache",
	"style":    "format lint style reformat",
	"build":    "upgrade bump pin dockerize",
	"revert":   "revert undo",
})

// nouns turn a verb that says little, as "add" or "update", into the type of what it is done to.
var nouns = typed(map[string]string{
	"test":  "test tests",
	"docs":  "readme readme.md docs documentation changelog comments",
	"build": "dependency dependencies dockerfile",
	"ci":    "workflow pipeline ci",
})

// typed turns lists of words by type into types by word.
func typed(lists map[string]string) map[string]string {
	types := map[string]string{}
	for kind, list := range lists {
		for _, word := range strings.Fields(list) {
			types[word] = kind
		}
	}
	return types
}

// kindOf looks at the first verb that it knows among the first words, and then at what the verb is about.
func kindOf(line string) string {
	words := strings.FieldsFunc(strings.ToLower(line), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '.' && r != '\''
	})
	if len(words) > 8 {
		words = words[:8]
	}
	kind := ""
	for i, w := range words {
		if kind == "" && i < 4 {
			kind = kinds[w]
		}
		if about, ok := nouns[strings.TrimRight(w, ".")]; ok && (kind == "" || kind == "feat") {
			return about
		}
	}
	if kind == "" {
		return "chore"
	}
	return kind
}

func upperFirst(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return s
	}
	return string(unicode.ToUpper(r)) + s[size:]
}

// lowerFirst spares words that are written in capitals, as API or GitHub.
func lowerFirst(s string) string {
	word, _, _ := strings.Cut(s, " ")
	if strings.ContainsFunc(string([]rune(word)[min(1, len([]rune(word))):]), unicode.IsUpper) {
		return s
	}
	r, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return s
	}
	return string(unicode.ToLower(r)) + s[size:]
}
