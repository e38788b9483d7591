package main

import (
	"errors"
	"strings"

	"github.com/ai-coding-worker/ai-coding-worker/internal/agentproc"
	"github.com/ai-coding-worker/ai-coding-worker/internal/secret"
)

// cast is who does the demo's jobs, and what they are.
type cast struct {
	provider      string
	credential    secret.String
	intro         string
	first, second scene
}

// scene is one request.
type scene struct{ title, text string }

const (
	scriptName = "script"
	claudeName = "claude-code"
)

// chooseCast goes by what was asked for and what the environment has.
func (a *app) chooseCast(provider string) (cast, error) {
	credential := a.demoCredential()
	installed := agentproc.LookPath("claude", a.getenv("PATH")) != ""
	switch {
	case provider == scriptName, provider == "" && (credential.IsZero() || !installed):
		return scriptCast, nil
	case provider != "" && provider != claudeName:
		return cast{}, usageError{errors.New("--provider: the demo knows " + scriptName + " and " + claudeName)}
	case credential.IsZero():
		return cast{}, usageError{errors.New("--provider " + claudeName + ": no credential in the environment, see aicw demo --help")}
	case !installed:
		return cast{}, usageError{errors.New("--provider " + claudeName + ": there is no claude on the PATH")}
	}
	c := claudeCast
	c.credential = credential
	return c, nil
}

// demoCredential is one for Claude Code.
func (a *app) demoCredential() secret.String {
	for _, name := range append([]string{"CODING_ASSISTANT_AUTHENTICATION", "AICW_AUTH"}, usual[claudeName]...) {
		if value := strings.TrimSpace(a.getenv(name)); value != "" {
			return secret.New(value)
		}
	}
	return secret.String{}
}

var scriptCast = cast{
	provider: scriptName,
	intro:    "The provider is script: the request is a shell script.",
	first: scene{"a footer on every page, by a script", `# Add a footer to every page
for page in *.html; do
  awk '{ sub("</body>", "  <footer>Made by a worker</footer>\n</body>"); print }' "$page" >page.tmp
  mv page.tmp "$page"
  echo "$page has a footer"
done
`},
	second: scene{"a changelog, by another script", `# Write down the change in a changelog
printf '# Changelog\n\n* every page has a footer\n' >CHANGELOG.md
echo "the last commit here is: $(git log -1 --format=%s)"
`},
}

var claudeCast = cast{
	provider: claudeName,
	intro:    "The provider is claude-code, with the credential of your environment.",
	first:    scene{"a footer on every page, by Claude Code", `Add <footer>Made by a worker</footer> at the end of the body of every HTML page. Change nothing else.`},
	second:   scene{"a changelog, by Claude Code, which remembers", `Write CHANGELOG.md with one line about the change you made before.`},
}

// website is the demo's repository.
var website = map[string]string{
	"README.md":  "# A website\n\nThree pages.\n",
	"index.html": "<html>\n<body>\n  <h1>Welcome</h1>\n</body>\n</html>\n",
	"about.html": "<html>\n<body>\n  <h1>About</h1>\n</body>\n</html>\n",
	"news.html":  "<html>\n<body>\n  <h1>News</h1>\n</body>\n</html>\n",
}
